"""The page of detectors' tests: one self-contained HTML file, in the form of segmentation's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..metrics import DetectionResults, ResultsError, check_same_classes, load_detection_results
from ..page import (
    Block,
    Card,
    Cards,
    Drawings,
    Heading,
    Page,
    Section,
    Table,
    Text,
    data_uri,
    write_page,
)
from .detection_tables import KIND_NAMES, detection_class_table, detection_table
from .figures import domain_bars
from .report import example_blocks, examples_by_group, images, interval_text, of_each, provenance
from .runs import ReportRun, load_run, with_unique_names

_IMAGES = (
    "Ranked within their domain by the AP50 of the single image. Drawn are detections with a score "
    "of at least 0.3, and the annotated objects. Drag the slider to lay the chosen picture over "
    "the input."
)


def _cards(run: DetectionResults, several: bool) -> list[Card]:
    where, average = "targets", "mean_of_domains_"
    if not run.targets:
        where, average = next(iter(run.groups)), ""
    cards = []
    for kind in run.kinds:
        figure = run.figures[f"{where}/{average}{kind}_AP"]
        relative = run.figures.get(f"{where}/relative_{average}{kind}_AP")
        of = "mean over the target domains" if average else where
        what = [f"AP of {KIND_NAMES[kind]}: {of}", interval_text(figure.interval)]
        if relative is not None:
            what.append(f"{relative.value:.1f} % of {run.source}")
        name = run.name if several else ""
        cards.append(Card(f"{figure.value:.1f}", list(filter(None, what)), name, "%"))
    return cards


def _comparison(runs: Sequence[DetectionResults]) -> Table:
    """AP of each run side by side, one row a domain and kind, percent."""
    keys = dict.fromkeys(key for run in runs for key in run.groups)
    rows = []
    for key in keys:
        for kind in runs[0].kinds:
            found = [run.figures.get(f"{key}/{kind}_AP") for run in runs]
            rows.append([key, KIND_NAMES[kind], *(figure and figure.value for figure in found)])
    return Table(["Domain", "AP of", *(run.name for run in runs)], rows)


def _images(one: ReportRun) -> list[Block]:
    def draw(pictures: dict) -> dict[str, str]:
        shown = {"input": pictures["image"], **pictures}
        return {name: data_uri(pixels) for name, pixels in shown.items() if name != "image"}

    return example_blocks(examples_by_group(one), draw)


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
    shown = with_unique_names([load_run(folder, load_detection_results) for folder in folders])
    runs: list[DetectionResults] = [one.results for one in shown]
    check_same_classes(runs)
    first, several, drawings = runs[0], len(runs) > 1, Drawings(Path(out) / "figures")
    for run in runs[1:]:
        if run.kinds != first.kinds:
            raise ResultsError(f"{run.path} measured {run.kinds}, {first.path} {first.kinds}")
    charts = []
    for kind in first.kinds:
        label = f"AP of {KIND_NAMES[kind]}"
        caption = f"{label} by domain; in brackets the share of the source's."
        drawn = (domain_bars, runs, f"{kind}_AP", label)
        charts.append(drawings.both(f"domains_{kind}", caption, *drawn))
    note = Text(
        "COCO's AP: the mean over IoU thresholds from 0.50 to 0.95, areas and classes. Intervals "
        "are over images, by the bootstrap. A relative figure is the share of the source's.", "note"
    )  # fmt: skip
    tables = [*([_comparison(runs)] if several else []), *_titled(map(detection_table, runs))]
    of_classes = _titled(detection_class_table(run, kind) for run in runs for kind in run.kinds)
    sections = [
        Section("headline", "", [Cards([c for run in runs for c in _cards(run, several)])]),
        Section("by-domain", "By domain", [*charts, *tables], "Domains"),
        Section("by-class", "By class and domain", of_classes, "Classes"),
        Section("images", "Best, median and worst images", images(shown, _images, _IMAGES),
                "Images"),
        Section("provenance", "How it was made", [*of_each(shown, provenance), note]),
    ]  # fmt: skip
    name = title or " / ".join(run.name for run in runs)
    return write_page(Page(name, sections, "Detection across domains"), Path(out) / "report.html")
