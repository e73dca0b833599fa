"""What a report shows of a work folder, and how several are told apart."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..metrics import Results, load_results
from .examples import Example, load_examples

#: Where in a work folder the example images lie.
EXAMPLES_FOLDER = "examples"


@dataclass(frozen=True)
class ReportRun:
    """What a report shows of one work folder; ``suffix`` tells its figures from others' files."""

    results: Results
    examples: Sequence[Example] = ()
    config: str | None = None
    suffix: str = ""

    @property
    def name(self) -> str:
        return self.results.name


def load_run(work_dir: str | Path, load: Callable[[Path], Results] = load_results) -> ReportRun:
    """Read everything a report shows of a work folder; ``load`` reads its results.

    Raises:
        FileNotFoundError: If it has no ``results.json``.
        ResultsError: If a file is damaged or of another class set.
    """
    folder = Path(work_dir)
    results = load(folder)
    return ReportRun(
        results=results,
        examples=load_examples(folder / EXAMPLES_FOLDER, results.classes),
        config=_config_text(folder, results.run.get("config")),
    )


def _config_text(folder: Path, config: str | None) -> str | None:
    """The complete config that MMEngine wrote into the work folder."""
    dumped = sorted(folder.glob("*/vis_data/config.py"), key=lambda p: p.stat().st_mtime)
    candidates = [folder / Path(config).name] if config else []
    for file in [*candidates, *dumped[::-1]]:
        if file.is_file() and file.suffix == ".py":
            return file.read_text(encoding="utf-8")
    return None


def with_unique_names(runs: Sequence[ReportRun]) -> list[ReportRun]:
    """Runs of one name (seeds, say) get their folder's name, and a number if that is not enough."""
    names = [run.name for run in runs]
    folders = [r.results.path.parent.name if r.results.path else "" for r in runs]
    labels = [
        f"{name} ({folder})" if names.count(name) > 1 and folder not in ("", name) else name
        for name, folder in zip(names, folders, strict=True)
    ]
    labels = [
        f"{label} #{labels[: i + 1].count(label)}" if labels.count(label) > 1 else label
        for i, label in enumerate(labels)
    ]
    slugs = [slug(label) for label in labels]
    suffixes = [
        f"_{name}" if slugs.count(name) == 1 else f"_{name}-{number}"
        for number, name in enumerate(slugs, 1)
    ]
    return [
        replace(run, results=run.results.named(label), suffix=suffix if len(runs) > 1 else "")
        for run, label, suffix in zip(runs, labels, suffixes, strict=True)
    ]


def slug(text: str) -> str:
    """A file name part: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"
