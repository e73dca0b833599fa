"""Work folders into conditions: what was compared, each with its seeds, the missing ones too."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..metrics import RESULTS_FILE, ResultsError, RunResults, check_same_classes, load_results
from .plan import PLAN_FILE, parse_seed_folder, read_plan
from .record import RECORD_FILE, read_record


@dataclass(frozen=True)
class SeedRun:
    """One seed of a condition.

    Attributes:
        seed: ``None`` if nothing says which.
        folder: Its work folder, which may not exist.
        results: ``None`` if there are none; ``reason`` then says why.
    """

    seed: int | None
    folder: Path
    results: RunResults | None = None
    reason: str = ""


@dataclass(frozen=True)
class Condition:
    """A config with all the seeds that it should have."""

    group: str
    name: str
    runs: tuple[SeedRun, ...]

    @property
    def present(self) -> tuple[SeedRun, ...]:
        """The seeds with results."""
        return tuple(run for run in self.runs if run.results is not None)

    @property
    def absent(self) -> tuple[SeedRun, ...]:
        """The seeds without."""
        return tuple(run for run in self.runs if run.results is None)

    @property
    def state(self) -> str:
        """Such as ``'2 of 3; seed 1 failed: ...'``."""
        text = f"{len(self.present)} of {len(self.runs)}"
        notes = [
            (f"seed {run.seed} " if run.seed is not None else "") + run.reason
            for run in self.absent
        ]
        return "; ".join([text, *notes])


def _load(folder: Path, seed: int | None) -> SeedRun:
    """The run in a work folder, or why there is none."""
    record = None
    try:
        record = read_record(folder)
        if record is not None:
            seed = record.seed
            if record.status == "failed":
                return SeedRun(seed, folder, reason=f"failed: {record.reason}")
            if record.status == "running":
                return SeedRun(seed, folder, reason="missing: not finished")
        results = load_results(folder)
    except FileNotFoundError:
        return SeedRun(seed, folder, reason="missing: never run" if record is None else "missing")
    except (ResultsError, ValueError) as error:
        return SeedRun(seed, folder, reason=f"failed: {error}")
    if seed is None and isinstance(results.run.get("seed"), int):
        seed = results.run["seed"]
    return SeedRun(seed, folder, results)


def _identify(folder: Path) -> tuple[str, str, int | None]:
    """Set, name and seed of a work folder that no plan names, from its record or its path."""
    try:
        record = read_record(folder)
    except ValueError:
        record = None
    if record is not None:
        return record.group, record.name, record.seed
    path = folder.resolve()
    parsed = parse_seed_folder(path.name)
    if parsed is None:
        return path.parent.name, path.name, None
    name, seed = parsed
    if name is None:
        return path.parent.parent.name, path.parent.name, seed
    return path.parent.name, name, seed


def _find(path: Path) -> Iterator[tuple[str, str, SeedRun, bool]]:
    """All runs in or below a folder, and whether a plan names them, those first.

    The folder itself if there are none.
    """
    if (path / PLAN_FILE).is_file():
        for run in read_plan(path):
            yield run.group, run.name, _load(path / run.folder, run.seed), True
        return
    if (path / RESULTS_FILE).is_file() or (path / RECORD_FILE).is_file():
        group, name, seed = _identify(path)
        yield group, name, _load(path, seed), False
        return
    below = sorted(
        {
            file.parent
            for name in (PLAN_FILE, RESULTS_FILE, RECORD_FILE)
            for file in path.rglob(name)
        }
    )
    plans = [folder for folder in below if (folder / PLAN_FILE).is_file()]
    tops = [f for f in below if not any(plan in f.parents for plan in plans)]
    if not tops:
        group, name, seed = _identify(path)
        reason = "missing: no results in it" if path.is_dir() else "missing: no such folder"
        yield group, name, SeedRun(seed, path, reason=reason), False
    for folder in tops:
        yield from _find(folder)


def collect_conditions(paths: Iterable[str | os.PathLike]) -> list[Condition]:
    """Gather runs by what they compare.

    A folder may be that of a sweep, whose plan says which runs there should be; a work folder of
    ``domino test``; or one with such below it. Without a plan, set, name and seed come from the
    path (``SET/NAME/seed3`` or ``SET/NAME_seed3``) or from the results, and a seed that one
    condition of a set has is expected of all of them.

    Raises:
        ResultsError: If runs of a set have different classes, or two runs are the same condition
            and seed.
    """
    found: dict[tuple[str, str], dict[int | None, SeedRun]] = {}
    planned: set[tuple[str, str]] = set()
    for path in dict.fromkeys(map(Path, paths)):
        for group, name, run, by_plan in _find(path):
            if by_plan:
                planned.add((group, name))
            runs = found.setdefault((group, name), {})
            other = runs.setdefault(run.seed, run)
            if other.folder.resolve() != run.folder.resolve():
                raise ResultsError(
                    f"{other.folder} and {run.folder} are both seed {run.seed} of "
                    f"{group}/{name}; give one of them"
                )
    conditions = []
    for (group, name), runs in found.items():
        seeds = {s for (g, _), others in found.items() if g == group for s in others}
        if None not in runs and (group, name) not in planned:
            for seed in seeds - set(runs) - {None}:
                runs[seed] = SeedRun(seed, Path(), reason="missing: never run")
        order = sorted(runs.values(), key=lambda run: -1 if run.seed is None else run.seed)
        conditions.append(Condition(group, name, tuple(order)))
    for group in dict.fromkeys(c.group for c in conditions):
        members = [c for c in conditions if c.group == group]
        check_same_classes([run.results for c in members for run in c.present])
    return conditions
