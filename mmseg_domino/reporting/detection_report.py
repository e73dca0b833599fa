"""The page of detectors' tests: one self-contained HTML file, in the form of segmentation's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..metrics import DetectionResults, ResultsError, load_detection_results
from ..page import (
    Block,
    Card,
    Cards,
    Chart,
    Comparison,
    Comparisons,
    Drawings,
    Heading,
    Legend,
    Page,
    Pairs,
    Section,
    Table,
    Text,
    data_uri,
    new_figure,
    write_page,
)
from ..page.colours import run_colour
from ..page.pictures import STYLE
from .detection_examples import load_detection_examples
from .detection_tables import KIND_NAMES, detection_class_table, detection_table
from .runs import EXAMPLES_FOLDER


def precision_bars(runs: Sequence[DetectionResults], kind: str, narrow: bool = False) -> Figure:
    """AP by domain as bars with 95 % intervals, runs beside one another."""
    groups = list(dict.fromkeys(key for run in runs for key in run.groups))
    bar = 0.8 / len(runs)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.6 if narrow else 7.2, 1.2 + len(groups) * max(0.4, 0.22 * len(runs)))
        axes = figure.add_subplot()
        for index, run in enumerate(runs):
            colour, hatch = run_colour(index)
            for row, key in enumerate(groups):
                found = run.figures.get(f"{key}/{kind}_AP")
                if found is None or np.isnan(found.value):
                    continue
                at = row + (index - (len(runs) - 1) / 2) * bar
                low, high = found.interval or (found.value, found.value)
                axes.barh(at, found.value, bar, color=colour, hatch=hatch, edgecolor="white",
                          label=run.name if row == 0 else None)  # fmt: skip
                axes.plot([low, high], [at, at], color="#222222", linewidth=1)
                axes.annotate(f"{found.value:.1f}", (max(high, found.value), at), (4, 0),
                              textcoords="offset points", va="center", fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(groups)), groups)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.margins(x=0.12)
        axes.set_xlabel(f"AP of {KIND_NAMES[kind]}, percent (whiskers: 95 % interval)")
        axes.spines[["top", "right", "left"]].set_visible(False)
        if len(runs) > 1:
            figure.legend(loc="outside upper left", ncols=1 if narrow else 2, frameon=False)
    return figure


def _cards(run: DetectionResults, several: bool) -> list[Card]:
    where, average = "targets", "mean_of_domains_"
    if not run.targets:
        where, average = next(iter(run.groups)), ""
    cards = []
    for kind in run.kinds:
        figure = run.figures[f"{where}/{average}{kind}_AP"]
        relative = run.figures.get(f"{where}/relative_{average}{kind}_AP")
        what = [f"AP of {KIND_NAMES[kind]}: {'mean over the target domains' if average else where}"]
        if figure.interval:
            what.append("95 % interval {:.1f} to {:.1f}".format(*figure.interval))
        if relative is not None:
            what.append(f"{relative.value:.1f} % of {run.source}")
        cards.append(Card(f"{figure.value:.1f}", what, run.name if several else "", "%"))
    return cards


def comparison_of_detectors(runs: Sequence[DetectionResults]) -> Table:
    """AP of each run side by side, one row a domain and kind, percent."""
    keys = list(dict.fromkeys(key for run in runs for key in run.groups))
    rows = [
        [key, KIND_NAMES[kind], *(
            run.figures[f"{key}/{kind}_AP"].value if f"{key}/{kind}_AP" in run.figures else None
            for run in runs
        )]
        for key in keys for kind in runs[0].kinds
    ]  # fmt: skip
    return Table(["Domain", "AP of", *(run.name for run in runs)], rows)


def _images(folder: Path) -> list[Block]:
    blocks: list[Block] = []
    members: dict[str, list] = {}
    for example, pictures in load_detection_examples(folder / EXAMPLES_FOLDER):
        members.setdefault(example.group, []).append((example, pictures))
    for group, pairs in members.items():
        items = [
            Comparison(
                f"{example.kind.capitalize()} {example.ap50:.1f} %",
                f"rank {example.rank} of {example.count}", example.image,
                {name: data_uri(pixels) for name, pixels in pictures.items()}, "prediction",
                pictures["input"].shape[1::-1],
            )
            for example, pictures in pairs
        ]  # fmt: skip
        blocks += [Heading(group, 4), Comparisons(items)]
    return blocks


def _titled(tables: Iterable[Table]) -> list[Block]:
    return [block for table in tables for block in (Heading(table.title), table)]


def write_detection_report(
    folders: Sequence[str | Path], out: str | Path, title: str | None = None
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of one or several work folders.

    Returns:
        The path of the HTML file.

    Raises:
        FileNotFoundError: If a work folder has no results.
        ResultsError: If results are damaged, or of other classes or kinds than the first's.
        ValueError: If there are no folders.
    """
    if not folders:
        raise ValueError("write_detection_report needs at least one work folder")
    runs = [load_detection_results(folder) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        if (run.classes, run.kinds) != (first.classes, first.kinds):
            raise ResultsError(f"{run.path} is of other classes or kinds than {first.path}")
    several, drawings = len(runs) > 1, Drawings(Path(out) / "figures")
    charts: list[Chart] = [
        drawings.chart(f"domains_{kind}", f"AP of {KIND_NAMES[kind]} by domain.",
                       precision_bars(runs, kind), precision_bars(runs, kind, narrow=True))
        for kind in first.kinds
    ]  # fmt: skip
    colours = [f"rgb({r}, {g}, {b})" for r, g, b in first.palette]
    images: list[Block] = []
    for folder, run in zip(folders, runs, strict=True):
        found = _images(Path(folder))
        images += [Heading(run.name)] * (several and bool(found)) + found
    if images:
        intro = Text(
            "Ranked within their domain by the AP50 of the single image. Drawn are detections with "
            "a score of at least 0.3, and the annotated objects. Drag the slider to lay the chosen "
            "picture over the input."
        )
        images = [intro, Legend(list(zip(first.classes, colours, strict=True))), *images]
    provenance = [
        block for run in runs for block in (
            Heading(run.name),
            Pairs([(key, str(value)) for key, value in run.run.items() if value]),
        )
    ]  # fmt: skip
    note = Text(
        "COCO's AP: the mean over IoU thresholds from 0.50 to 0.95, areas and classes. Intervals "
        "are over images, by the bootstrap. A relative figure is the share of the source's.", "note"
    )  # fmt: skip
    tables = _titled(detection_table(run) for run in runs)
    of_classes = _titled(detection_class_table(run, kind) for run in runs for kind in run.kinds)
    sections = [
        Section("headline", "", [Cards([c for run in runs for c in _cards(run, several)])]),
        Section("by-domain", "By domain",
                [*charts, *([comparison_of_detectors(runs)] if several else []), *tables],
                "Domains"),
        Section("by-class", "By class and domain", of_classes, "Classes"),
        Section("images", "Best, median and worst images", images, "Images"),
        Section("provenance", "How it was made", [*provenance, note]),
    ]  # fmt: skip
    name = title or " / ".join(run.name for run in runs)
    return write_page(Page(name, sections, "Detection across domains"), Path(out) / "report.html")
