"""One self-contained HTML file from one or several work folders, and its figures as PNG files."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from ..metrics import RunResults, check_same_classes, load_results
from ..page import Table
from ..page.tables import Cell
from ..utils import atomic_write
from ..version import __version__
from . import figures
from .curves import calibration_curves
from .examples import KINDS, Example, load_examples, render
from .tables import calibration_table, class_table, comparison_table, domain_table

__all__ = ["EXAMPLES_FOLDER", "ReportRun", "load_run", "write_report"]

#: Where in a work folder the example images lie.
EXAMPLES_FOLDER = "examples"
#: With more groups than this the confusions are shown pooled by data set only.
MAX_GROUPS_APART = 8


@dataclass(frozen=True)
class ReportRun:
    """What a report shows of one work folder."""

    results: RunResults
    examples: Sequence[Example] = ()
    config: str | None = None

    @property
    def name(self) -> str:
        return self.results.name


def load_run(work_dir: str | Path) -> ReportRun:
    """Read everything a report shows of a work folder.

    Args:
        work_dir: A folder into which ``domino test`` wrote.

    Raises:
        FileNotFoundError: If it has no ``results.json``.
        ResultsError: If a file is damaged or of another class set.
    """
    folder = Path(work_dir)
    results = load_results(folder)
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
    result = []
    for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
        if labels.count(label) > 1:
            label = f"{label} #{labels[: i + 1].count(label)}"
        result.append(replace(run, results=run.results.named(label)))
    return result


@dataclass
class _Drawn:
    """A figure in the page."""

    key: str
    caption: str
    wide: str
    narrow: str
    label: str = ""


@dataclass
class _Page:
    """Draws figures into a folder of PNG files and into the page."""

    folder: Path
    files: list[Path] = field(default_factory=list)

    def draw(self, key: str, wide: Figure, narrow: Figure, caption: str, label: str = "") -> _Drawn:
        self.save(key, wide)
        uris = (_svg_uri(figure) for figure in (wide, narrow))
        return _Drawn(key, caption, *uris, label=label)

    def save(self, key: str, figure: Figure) -> None:
        file = self.folder / f"{key}.png"
        with atomic_write(file) as temporary:
            temporary.write_bytes(figures.figure_bytes(figure))
        self.files.append(file)


def _svg_uri(figure: Figure) -> str:
    svg = figures.figure_bytes(figure, "svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def slug(text: str) -> str:
    """A file name part: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def _slugs(runs: Sequence[ReportRun]) -> list[str]:
    """A distinct file name part for each run; none for a single one."""
    if len(runs) == 1:
        return [""]
    names = [slug(run.name) for run in runs]
    return [
        f"_{name}" if names.count(name) == 1 else f"_{name}-{i + 1}" for i, name in enumerate(names)
    ]


def _confusions(run: RunResults) -> dict[str, np.ndarray]:
    """The confusions to show by label: the targets of each data set pooled, then every group."""
    shown = {}
    for dataset in dict.fromkeys(g.dataset for g in run.targets.values()):
        members = [g for g in run.targets.values() if g.dataset == dataset]
        if len(members) > 1:
            pooled = sum(g.confusion for g in members)
            shown[f"{dataset}, all domains"] = pooled
    if len(run.groups) <= MAX_GROUPS_APART or not shown:
        ordered = sorted(run.groups.values(), key=lambda g: g.key == run.source)
        shown.update((g.key, g.confusion) for g in ordered)
    return shown


def confusion_table(run: RunResults, number: int = 10) -> Table:
    """The largest confusions of the target domains: share of a class's pixels taken for another."""
    rows: list[list[Cell]] = []
    for group in (run.targets or run.groups).values():
        total = group.confusion.sum(axis=1)
        for i, j in zip(*group.confusion.nonzero(), strict=True):
            if i != j:
                share = 100 * group.confusion[i, j] / total[i]
                # By pixels lost, not by share: a class with ten pixels says little.
                rows.append([group.key, run.classes[i], run.classes[j], float(share),
                             float(100 * group.confusion[i, j] / total.sum())])  # fmt: skip
    rows.sort(key=lambda row: -row[4])
    columns = ["Domain", "Truth", "Predicted as", "% of the class", "% of all pixels"]
    return Table(columns, rows[:number], title=f"{run.name}: largest confusions", digits=1)


def score_table(run: ReportRun) -> Table | None:
    """How often the domain with the highest score is the true one; ``None`` without scores."""
    groups = [g for g in run.results.groups.values() if g.domain_scores is not None]
    if not groups:
        return None
    rows: list[list[Cell]] = []
    for group in groups:
        names, mean = group.domain_scores.names, group.domain_scores.mean
        known = group.domain in names
        score = 100 * mean[names.index(group.domain)] if known else None
        hits = None
        images = run.results.images
        if known and images is not None and images.domain_scores is not None:
            best = images.domain_scores[images.rows[group.key]].argmax(axis=1)
            hits = float(100 * (best == names.index(group.domain)).mean()) if len(best) else None
        first = names[int(np.argmax(mean))]
        rows.append([group.key, group.num_images, score, hits, first])
    columns = ["Domain", "Images", "Mean score of the true domain, %",
               "Images with the true domain first, %", "Highest mean score"]  # fmt: skip
    return Table(columns, rows, title=f"{run.name}: domain scores", digits=1)


def _examples(run: ReportRun, suffix: str, page: _Page) -> list[dict[str, Any]]:
    """The examples by group, best first, with their pictures; also as PNG grids."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    arrays: dict[str, list] = {}
    for example in sorted(run.examples, key=lambda e: (KINDS.index(e.kind), e.rank)):
        loaded = example.arrays()
        pictures = render(loaded, run.results.palette)
        height, width = loaded.prediction.shape
        by_group.setdefault(example.group, []).append(
            {"example": example, "pictures": pictures, "width": width, "height": height}
        )
        arrays.setdefault(example.group, []).append((example, loaded))
    for group, members in arrays.items():
        figure = figures.example_grid(members, run.results.palette)
        page.save(f"examples{suffix}_{slug(group)}", figure)
    return [{"group": group, "items": items} for group, items in by_group.items()]


def _run_context(run: ReportRun, suffix: str, page: _Page) -> dict[str, Any]:
    """Figures and tables of one run."""
    results = run.results
    classes = page.draw(
        f"classes{suffix}", figures.class_heat_map(results),
        figures.class_heat_map(results, narrow=True),
        "IoU by class and domain. Hatched: the class occurs neither in truth nor in prediction.",
    )  # fmt: skip
    confusions = [
        page.draw(
            f"confusion{suffix}_{slug(label)}",
            figures.confusion_heat_map(confusion, results.classes),
            figures.confusion_heat_map(confusion, results.classes, narrow=True),
            "Where the pixels of each class went; rows are the truth. Shares below 1 % carry no "
            "number; the colour follows the square root.",
            label,
        )
        for label, confusion in _confusions(results).items()
    ]
    scores = figures.domain_score_heat_map(results)
    return {
        "run": results,
        "suffix": suffix,
        "headline": results.headline,
        "table": domain_table(results),
        "classes": classes,
        "class_table": class_table(results),
        "confusions": confusions,
        "confusion_table": confusion_table(results),
        "examples": _examples(run, suffix, page),
        "scores": scores
        and page.draw(
            f"domain_scores{suffix}", scores, figures.domain_score_heat_map(results, narrow=True),
            "Mean scores that the domain encoder gave to the images of each true domain.",
        ),
        "score_table": score_table(run),
        "calibration": _calibration(results, suffix, page),
        "calibration_table": calibration_table(results),
        "config": run.config,
        "provenance": _provenance(results),
    }  # fmt: skip


def _calibration(run: RunResults, suffix: str, page: _Page) -> _Drawn | None:
    figure = calibration_curves(run)
    if figure is None:
        return None
    return page.draw(
        f"calibration{suffix}", figure, calibration_curves(run, narrow=True),
        "Left or above: how often pixels of a confidence are right. The other: how many of the "
        "pixels that are kept are wrong if only the surest are kept.",
    )  # fmt: skip


def _provenance(run: RunResults) -> list[tuple[str, str]]:
    entries = [
        (label, str(run.run[key]))
        for key, label in (
            ("command", "Command"), ("config", "Config"), ("checkpoint", "Checkpoint"),
            ("commit", "Commit"), ("seed", "Seed"), ("created", "Tested"),
        )
        if run.run.get(key) not in (None, "")
    ]  # fmt: skip
    versions: Mapping[str, Any] = run.run.get("versions") or {}
    if versions:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        entries.append(("Versions", text))
    return entries


def _differences(runs: Sequence[ReportRun], suffixes: Sequence[str], page: _Page) -> list[_Drawn]:
    """Each run against the first."""
    drawn = []
    for run, suffix in zip(runs[1:], suffixes[1:], strict=True):
        first, second = runs[0].results, run.results
        if not any(figures.common(key, first, second) for key in first.groups):
            continue
        figure = page.draw(
            f"difference{suffix}",
            figures.difference_heat_map(first, second),
            figures.difference_heat_map(first, second, narrow=True),
            f"IoU of “{second.name}” minus IoU of “{first.name}”, in points.",
        )
        drawn.append(figure)
    return drawn


def write_report(
    runs: Sequence[ReportRun | str | Path], out: str | Path, title: str | None = None
) -> Path:
    """Write ``report.html`` and ``figures/*.png``.

    The page asks no host for anything and works from disk: its figures, styles and scripts are in
    the file.

    Args:
        runs: Work folders, or what :func:`load_run` read from them; the first is the one that
            others are compared with.
        out: The folder to write into; created if need be.
        title: Heading; by default made of the runs' names.

    Returns:
        The path of the HTML file.

    Raises:
        FileNotFoundError: If a work folder has no results.
        ResultsError: If results are damaged or the runs' class sets differ.
        ValueError: If there are no runs.
    """
    if not runs:
        raise ValueError("write_report needs at least one run")
    loaded = with_unique_names([r if isinstance(r, ReportRun) else load_run(r) for r in runs])
    results = [run.results for run in loaded]
    check_same_classes(results)
    out = Path(out)
    page, suffixes = _Page(out / "figures"), _slugs(loaded)
    bars = page.draw(
        "domains", figures.domain_bars(results), figures.domain_bars(results, narrow=True),
        "mIoU by domain; in brackets the share of the source's mIoU.",
    )  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmseg_domino.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(
        title=title or " / ".join(r.name for r in results),
        runs=[_run_context(r, s, page) for r, s in zip(loaded, suffixes, strict=True)],
        bars=bars,
        comparison=comparison_table(results) if len(results) > 1 else None,
        differences=_differences(loaded, suffixes, page),
        classes=list(zip(results[0].classes, results[0].palette, strict=True)),
        figure_files=[file.relative_to(out).as_posix() for file in page.files],
        version=__version__,
    )
    with atomic_write(out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    return out / "report.html"
