"""The attack: all targets, or those whose names hold one of some words."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

import mmseg_domino.plugin  # noqa: F401  registers the parts

from . import data, places, runs
from .judge import Outcome, attack

BUILDERS = (
    runs.checkpoints, runs.resumed_trainings, runs.results, runs.journals, runs.sweeps,
    runs.generated, data.stores, data.extractions, data.pictures, data.tables, places.names,
    places.folders,
)  # fmt: skip

__all__ = ["run_attack"]


def run_attack(folder: Path, words: Sequence[str] = ()) -> Iterator[tuple[str, list[Outcome]]]:
    """Name and outcomes of each target.

    Args:
        folder: To work in.
        words: Names of functions of ``runs``, ``data`` and ``places``; all if there are none.
    """
    torch.set_num_threads(1)  # forked processes have no other threads
    warnings.simplefilter("ignore")
    init_default_scope("mmseg")
    for builder in BUILDERS:
        if not words or builder.__name__ in words:
            for target in builder(folder):
                yield target.name, list(attack(target, folder / "sandbox"))
