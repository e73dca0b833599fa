"""Processes that are forked from one that has imported everything: 5 to 10 s of a core each else.

Where it matters how a process starts, or how it meets others under torchrun, tests start real ones.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest
import torch

from mmseg_domino.cli import main

ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}


def run_processes(worker: Callable, arguments: tuple, count: int = 2) -> None:
    """Call ``worker(rank, *arguments)`` in ``count`` processes; raise what one of them raises."""
    _context()
    torch.multiprocessing.start_processes(
        worker, arguments, nprocs=count, start_method="forkserver"
    )


def start_domino(cwd: Path, log: Path, *arguments) -> multiprocessing.Process:
    """Start ``domino ARGUMENTS`` as the leader of a group; what it says goes to ``log``."""
    given = [str(a) for a in arguments]
    process = _context().Process(target=_domino, args=(str(cwd), str(log), given))
    process.start()
    return process


def _context():
    """The server inherits what the environment says when it starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmseg_domino.experiments.run", "mmseg_domino.plugin"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ensure_running()
    return context


def _domino(cwd: str, log: str, arguments: list[str]) -> None:
    os.setsid()
    with open(log, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(ENVIRONMENT)
    torch.set_num_threads(1)
    os.chdir(cwd)
    sys.argv = ["domino", *arguments]
    main(arguments, prog_name="domino")
