"""Processes that are forked from one that has imported everything: 5 to 10 s of a core each else.

Where it matters how a process starts, or how it meets others under torchrun, tests start real ones.
"""

import gc
import multiprocessing
import os
import socket
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


def start_domino(cwd: Path, log: Path, *arguments, **environment) -> multiprocessing.Process:
    """Start ``domino ARGUMENTS`` as the leader of a group; what it says goes to ``log``."""
    given = [str(a) for a in arguments]
    process = _context().Process(target=_domino, args=(str(cwd), str(log), given, environment))
    process.start()
    return process


def run_domino_twice(cwd: Path, logs: Path, *arguments) -> str:
    """Run ``domino ARGUMENTS`` in two processes that meet as torchrun has them meet.

    Returns:
        What the first says, and then what the second does.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = [logs / f"rank{rank}.txt" for rank in range(2)]
    processes = [
        start_domino(
            cwd, file, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )
        for rank, file in enumerate(files)
    ]  # fmt: skip
    for process in processes:
        process.join()
    said = "".join(file.read_text() for file in files)
    assert [process.exitcode for process in processes] == [0, 0], said
    return said


def _context():
    """The server inherits what the environment says when it starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmseg_domino.experiments.run", "mmseg_domino.plugin"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ensure_running()
    return context


def _domino(cwd: str, log: str, arguments: list[str], environment: dict[str, str]) -> None:
    os.setsid()
    with open(log, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(ENVIRONMENT | environment)
    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py
    os.chdir(cwd)
    sys.argv = ["domino", *arguments]
    main(arguments, prog_name="domino")
