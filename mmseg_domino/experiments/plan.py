"""What a sweep runs: the conditions of sets, each with several seeds."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from ..utils.json_files import read_json, write_json
from .sets import ConfigSet, SetError, load_set

PLAN_FILE = "sweep.json"
PLAN_FORMAT = "mmseg_domino.sweep/1"


@dataclass(frozen=True)
class PlannedRun:
    """One training and test.

    Attributes:
        group: Name of the set.
        name: Of the condition.
        seed: Of everything random.
        source: The set that resolves the condition; ``None`` if only the names are known.
    """

    group: str
    name: str
    seed: int
    source: ConfigSet | None = field(default=None, compare=False, repr=False)

    @property
    def folder(self) -> str:
        """Work folder below that of the sweep."""
        return f"{self.group}/{self.name}/seed{self.seed}"

    @property
    def label(self) -> str:
        return f"{self.group}/{self.name} seed {self.seed}"

    def resolve(self) -> Config:
        """The complete config, the seed included."""
        config = self.source.resolve(self.name)
        config.randomness = {**config.get("randomness", {}), "seed": self.seed}
        return config


def plan_runs(
    sources: Iterable[str | os.PathLike],
    seeds: Sequence[int],
    base: str | os.PathLike | None = None,
) -> list[PlannedRun]:
    """All conditions with the first seed, then all with the second, and so on.

    Stopped early, a sweep has thus compared everything with as many seeds as there was time for.

    Args:
        sources: Files of sets, or plain configs.
        seeds: Different non-negative numbers.
        base: Config that stands in for the base that each set names.

    Raises:
        SetError: As :func:`~mmseg_domino.experiments.sets.load_set` and
            :meth:`~mmseg_domino.experiments.sets.ConfigSet.rebased`; for seeds given twice, a
            negative one, or none; or if two conditions would share a work folder.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise SetError(f"seeds must be different non-negative numbers, got {list(seeds)}")
    found: dict[tuple[str, str], ConfigSet] = {}
    for path in dict.fromkeys(Path(source).resolve() for source in sources):
        source = load_set(path) if base is None else load_set(path).rebased(base)
        for name in source.conditions:
            other = found.setdefault((source.name, name), source)
            if other is not source:
                raise SetError(
                    f"{other.path} and {path} would share the work folder {source.name}/{name}; "
                    "run them in sweeps of their own (--work-dir)"
                )
    return [PlannedRun(*key, seed, source) for seed in seeds for key, source in found.items()]


def read_plan(work_dir: str | os.PathLike) -> list[PlannedRun]:
    """Every run that was ever planned in a sweep's folder, without its config."""
    path = Path(work_dir) / PLAN_FILE
    if not path.is_file():
        return []
    remedy = "delete it and start the sweep again, which keeps what is finished"
    try:
        runs = read_json(path, PLAN_FORMAT, remedy)["runs"]
    except ValueError as error:
        raise SetError(str(error)) from error
    try:
        return [PlannedRun(str(r["set"]), str(r["name"]), int(r["seed"])) for r in runs]
    except (KeyError, TypeError, ValueError) as error:
        raise SetError(f"{path} is damaged ({error}); {remedy}") from error


def write_plan(work_dir: str | os.PathLike, runs: Iterable[PlannedRun]) -> None:
    """Add runs to the plan of a sweep's folder, so that tables know what should be there."""
    everything = dict.fromkeys([*read_plan(work_dir), *runs])
    entries = [{"set": r.group, "name": r.name, "seed": r.seed} for r in everything]
    write_json(Path(work_dir) / PLAN_FILE, PLAN_FORMAT, {"runs": entries})


_SEED_FOLDER = re.compile(r"^(?:(?P<name>.+)[_-])?seed[_-]?(?P<seed>\d+)$")


def parse_seed_folder(folder: str) -> tuple[str | None, int] | None:
    """Name and seed of a folder called ``seed3`` or ``NAME_seed3``; ``None`` for others."""
    match = _SEED_FOLDER.match(folder)
    return None if match is None else (match["name"], int(match["seed"]))
