"""What a sweep runs: the configs of a set, each with several seeds.

A set is a folder of small config files that differ in one thing. Each names a base; with another
base the same set asks the same question of another model or at another size.
"""

import ast
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..utils import atomic_write

__all__ = [
    "PLAN_FILE",
    "PlannedRun",
    "SetError",
    "find_configs",
    "plan_runs",
    "read_plan",
    "rebase",
    "write_plan",
]

PLAN_FILE = "sweep.json"
PLAN_FORMAT = "mmseg_domino.sweep/1"


class SetError(ValueError):
    """A set that cannot be run as asked; the message says what to do."""


@dataclass(frozen=True)
class PlannedRun:
    """One training and test.

    Attributes:
        group: Name of the set.
        name: Name of the config within the set.
        config: Config file.
        seed: Of everything random.
    """

    group: str
    name: str
    config: Path
    seed: int

    @property
    def folder(self) -> str:
        """Work folder below that of the sweep."""
        return f"{self.group}/{self.name}/seed{self.seed}"

    @property
    def label(self) -> str:
        return f"{self.group}/{self.name} seed {self.seed}"


def find_configs(sources: Iterable[str | os.PathLike]) -> dict[tuple[str, str], Path]:
    """The configs of sets, in the order of their names.

    Args:
        sources: Folders of configs, or single config files. Names that start with ``_`` are bases
            and no members.

    Returns:
        Config files by (set, name): folder's and file's name.

    Raises:
        SetError: If a source does not exist or holds no config, or two would share a work folder.
    """
    found: dict[tuple[str, str], Path] = {}
    for source in map(Path, sources):
        if source.is_dir():
            files = sorted(f for f in source.glob("*.py") if not f.name.startswith("_"))
            if not files:
                raise SetError(f"{source} holds no config file (*.py); a set is a folder of them")
        elif source.is_file():
            files = [source]
        else:
            raise SetError(f"{source} does not exist; give a folder of configs or a config file")
        for file in files:
            key = (file.resolve().parent.name, file.stem)
            other = found.setdefault(key, file)
            if other.resolve() != file.resolve():
                raise SetError(
                    f"{other} and {file} would share the work folder {'/'.join(key)}; run them "
                    "in sweeps of their own (--work-dir)"
                )
    return found


def rebase(config: str | os.PathLike, base: str | os.PathLike) -> str:
    """The text of a config with another base; all else stays as it is.

    Args:
        config: A config file with one base.
        base: The config to stand in for it.

    Raises:
        SetError: If the config has no base, or several.
    """
    text = Path(config).read_text(encoding="utf-8")
    found = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_"
    ]
    if not found:
        raise SetError(f"{config} has no `_base_`, so --base cannot stand in for it")
    node = found[0]
    bases = ast.literal_eval(node.value)
    if not isinstance(bases, str) and len(bases) != 1:
        raise SetError(
            f"{config} has {len(bases)} bases; --base replaces one. Put what the others add into "
            "the base"
        )
    lines = text.splitlines(keepends=True)
    lines[node.lineno - 1 : node.end_lineno] = [f"_base_ = {str(Path(base).resolve())!r}\n"]
    return "".join(lines)


def plan_runs(
    sources: Iterable[str | os.PathLike],
    seeds: Sequence[int],
    work_dir: str | os.PathLike,
    base: str | os.PathLike | None = None,
) -> list[PlannedRun]:
    """All configs with the first seed, then all with the second, and so on.

    Stopped early, a sweep has thus compared everything with as many seeds as there was time for.

    Args:
        sources: See :func:`find_configs`.
        seeds: Different non-negative numbers.
        work_dir: Folder of the sweep; with a base, the rebased configs are written below it.
        base: Stands in for the base that each config names.

    Raises:
        SetError: As :func:`find_configs` and :func:`rebase`; for configs of a set that another
            base makes the same; or for seeds given twice, a negative one, or none.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise SetError(f"seeds must be different non-negative numbers, got {list(seeds)}")
    configs = find_configs(sources)
    if base is not None:
        if not Path(base).is_file():
            raise SetError(f"the base {base} does not exist")
        texts = {key: rebase(file, base) for key, file in configs.items()}
        first = {}
        for (group, name), text in texts.items():
            other = first.setdefault((group, text), name)
            if other != name:
                raise SetError(
                    f"{group}: {other} and {name} differ in their base alone, so with --base they "
                    "are the same; run this set without it"
                )
        configs = {}
        for (group, name), text in texts.items():
            configs[group, name] = path = Path(work_dir) / "configs" / group / f"{name}.py"
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                with atomic_write(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
    return [
        PlannedRun(group, name, file, seed)
        for seed in seeds
        for (group, name), file in configs.items()
    ]


def read_plan(work_dir: str | os.PathLike) -> list[tuple[str, str, int]]:
    """Set, name and seed of every run that was ever planned in a sweep's folder.

    Raises:
        SetError: If the file is damaged.
    """
    path = Path(work_dir) / PLAN_FILE
    if not path.is_file():
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != PLAN_FORMAT:
            raise SetError(f"{path} has the format {data['format']!r}, expected {PLAN_FORMAT!r}")
        return [(str(r["set"]), str(r["name"]), int(r["seed"])) for r in data["runs"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        message = f"{path} is damaged ({error!r}); delete it, and start the sweep again"
        raise SetError(message) from error


def write_plan(work_dir: str | os.PathLike, runs: Iterable[PlannedRun]) -> None:
    """Add runs to the plan of a sweep's folder, so that tables know what should be there."""
    known = read_plan(work_dir)
    added = [(run.group, run.name, run.seed) for run in runs]
    everything = list(dict.fromkeys([*known, *added]))
    entries = [{"set": group, "name": name, "seed": seed} for group, name, seed in everything]
    with atomic_write(Path(work_dir) / PLAN_FILE) as path:
        text = json.dumps({"format": PLAN_FORMAT, "runs": entries}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


_SEED_FOLDER = re.compile(r"^(?:(?P<name>.+)[_-])?seed[_-]?(?P<seed>\d+)$")


def parse_seed_folder(folder: str) -> tuple[str | None, int] | None:
    """Name and seed of a folder called ``seed3`` or ``NAME_seed3``; ``None`` for others."""
    match = _SEED_FOLDER.match(folder)
    return None if match is None else (match["name"], int(match["seed"]))
