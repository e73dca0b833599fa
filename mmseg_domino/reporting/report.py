"""One self-contained HTML file from one or several work folders, and its figures as PNG files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics import RunResults, check_same_classes
from ..page import (
    Block,
    Card,
    Cards,
    Cell,
    Choice,
    Code,
    Columns,
    Comparison,
    Comparisons,
    Details,
    Drawings,
    Heading,
    Legend,
    Page,
    Pairs,
    Section,
    Table,
    Text,
    write_page,
)
from . import figures
from .curves import calibration_curves
from .examples import KINDS, Example, ExampleArrays, render
from .runs import ReportRun, load_run, slug, with_unique_names
from .tables import (
    calibration_table,
    class_table,
    comparison_table,
    difference_table,
    domain_table,
    image_notes,
)

_IMAGES = (
    "Ranked within their domain by the mIoU of the single image. Drag the slider to lay the chosen "
    "picture over the input. In the error picture wrong pixels are vermilion and unlabelled ones "
    "white."
)
#: With more groups than this the confusions are shown pooled by data set only.
MAX_GROUPS_APART = 8


def _confusions(run: RunResults) -> dict[str, np.ndarray]:
    """The confusions to show by label: the targets of each data set pooled, then every group."""
    shown = {}
    for dataset, members in run.target_datasets.items():
        if len(members) > 1:
            shown[f"{dataset}, all domains"] = sum(g.confusion for g in members)
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


def interval_text(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"95 % interval {interval[0]:.1f} to {interval[1]:.1f}"


def _card(run: RunResults, several: bool) -> Card:
    """The targets' mIoU, with the relative one beside it."""
    title, rows = run.name if several else "", []
    headline = run.headline
    if headline is None:  # only a source was tested
        group = next(iter(run.groups.values()))
        figure = run.miou(group.key)
        what = [
            f"mIoU: {group.key}",
            interval_text(figure.interval),
            "No target domain was tested.",
        ]
        return Card(f"{figure.value:.1f}", [line for line in what if line], title, "%")
    label, miou, relative = headline
    what = [f"mIoU: {label}", interval_text(miou.interval)]
    if relative is not None:
        what.append(f"relative mIoU {relative.value:.1f} %, over {run.source}")
        what.append(interval_text(relative.interval))
    else:
        what.append("No relative mIoU: no source domain was tested.")
    for dataset, groups in run.target_datasets.items():
        if len(groups) > 1:
            for name, title_of in (("mean_of_domains", "mean of domains"), ("pooled", "pooled")):
                rows.append(
                    (f"{dataset}, {title_of}", f"{run.figures[f'{dataset}/{name}'].value:.2f}")
                )
    if run.source_group is not None:
        rows.append((f"{run.source} (source)", f"{run.source_group.miou:.2f}"))
    if any(group.few for group in run.groups.values()):
        what.append("A domain has fewer than 30 images: intervals are themselves uncertain.")
    return Card(f"{miou.value:.1f}", [line for line in what if line], title, "%", rows)


def of_each(
    shown: Sequence[ReportRun], make: Callable[[ReportRun], Sequence[Block | None]]
) -> list[Block]:
    """What each run has of something, under its name if there are several; nothing for none."""
    columns = []
    for one in shown:
        blocks = [block for block in make(one) if block is not None]
        if blocks:
            heading = [Heading(one.results.name)] if len(shown) > 1 else []
            columns.append([*heading, *blocks])
    return [Columns(columns)] if columns else []


def _domains(shown: Sequence[ReportRun], drawings: Drawings) -> list[Block]:
    results = [one.results for one in shown]
    bars = drawings.both(
        "domains", "mIoU by domain; in brackets the share of the source's mIoU.",
        figures.domain_bars, results,
    )  # fmt: skip
    if len(results) == 1:
        return [bars, domain_table(results[0])]
    each = [Details(f"All figures of {r.name}", [domain_table(r)]) for r in results]
    return [bars, Heading("Side by side, mIoU in percent"), comparison_table(results), *each]


def _classes(one: ReportRun, drawings: Drawings) -> list[Block]:
    results = one.results
    chart = drawings.both(
        f"classes{one.suffix}",
        "IoU by class and domain. Hatched: the class occurs neither in truth nor in prediction.",
        figures.class_heat_map, results,
    )  # fmt: skip
    return [chart, Details("Numbers", [class_table(results)])]


def _differences(shown: Sequence[ReportRun], drawings: Drawings) -> list[Block]:
    """Each run against the first."""
    columns: list[list[Block]] = []
    first = shown[0].results
    for one in shown[1:]:
        second = one.results
        if not any(figures.common(key, first, second) for key in first.groups):
            continue
        chart = drawings.both(
            f"difference{one.suffix}",
            f"IoU of “{second.name}” minus IoU of “{first.name}”, in points.",
            figures.difference_heat_map, first, second,
        )  # fmt: skip
        table = difference_table(first, second)
        heading = Heading(f"{second.name} minus {first.name}, points")
        columns.append([heading, table, chart] if table else [chart])
    return [Columns(columns)] if columns else []


def _confusion(one: ReportRun, drawings: Drawings) -> list[Block]:
    options: dict[str, list[Block]] = {}
    for label, confusion in _confusions(one.results).items():
        chart = drawings.both(
            f"confusion{one.suffix}_{slug(label)}",
            "Where the pixels of each class went; rows are the truth. Shares below 1 % carry no "
            "number; the colour follows the square root.",
            figures.confusion_heat_map, confusion, one.results.classes,
        )  # fmt: skip
        options[label] = [chart]
    table = confusion_table(one.results)
    largest = [Heading("Largest confusions", 4), table] if table.rows else []
    return [Choice("Domain", options), *largest]


def _calibration(one: ReportRun, drawings: Drawings) -> list[Block | None]:
    chart = drawings.both(
        f"calibration{one.suffix}",
        "Left or above: how often pixels of a confidence are right. The other: how many of the "
        "pixels that are kept are wrong if only the surest are kept.",
        calibration_curves, one.results,
    )  # fmt: skip
    return [chart, calibration_table(one.results)]


def _scores(one: ReportRun, drawings: Drawings) -> list[Block | None]:
    chart = drawings.both(
        f"domain_scores{one.suffix}",
        "Mean scores that the domain encoder gave to the images of each true domain.",
        figures.domain_score_heat_map, one.results,
    )  # fmt: skip
    return [chart, score_table(one)]


def examples_by_group(one: ReportRun) -> dict[str, list[tuple[Example, dict[str, np.ndarray]]]]:
    """The examples with their stored pictures, best first."""
    members: dict[str, list] = {}
    for example in sorted(one.examples, key=lambda e: (KINDS.index(e.kind), e.rank)):
        members.setdefault(example.group, []).append((example, example.pictures()))
    return members


def example_blocks(
    members: Mapping[str, Sequence[tuple[Example, dict[str, np.ndarray]]]],
    draw: Callable[[dict[str, np.ndarray]], dict[str, str]],
) -> list[Block]:
    """Examples side by side, drawn as URIs by name."""
    blocks: list[Block] = []
    for group, pairs in members.items():
        items = [
            Comparison(
                f"{example.kind.capitalize()} {example.miou:.1f} %",
                f"rank {example.rank} of {example.count}", example.image,
                draw(pictures), "prediction", pictures["image"].shape[1::-1],
            )
            for example, pictures in pairs
        ]  # fmt: skip
        blocks += [Heading(group, 4), Comparisons(items)]
    return blocks


def images(
    shown: Sequence[ReportRun],
    blocks_of: Callable[[ReportRun], list[Block]],
    intro: str,
    ramp: str = "",
) -> list[Block]:
    """The examples of each run, below what is to be known of them; nothing for none."""
    found: list[Block] = []
    for one in shown:
        blocks = blocks_of(one)
        found += [Heading(one.name)] * (len(shown) > 1 and bool(blocks)) + blocks
    results = shown[0].results
    colours = [f"rgb({r}, {g}, {b})" for r, g, b in results.palette]
    legend = Legend(list(zip(results.classes, colours, strict=True)), ramp)
    return [Text(intro), legend, *found] if found else []


def _images(one: ReportRun, drawings: Drawings) -> list[Block]:
    palette, members = one.results.palette, examples_by_group(one)
    for group, pairs in members.items():
        grid = figures.example_grid(pairs, palette)
        drawings.save(f"examples{one.suffix}_{slug(group)}", grid)
    return example_blocks(members, lambda stored: render(ExampleArrays(**stored), palette))


def provenance(one: ReportRun) -> list[Block]:
    run = one.results.run
    entries = [
        (label, str(run[key]))
        for key, label in (
            ("command", "Command"), ("config", "Config"), ("checkpoint", "Checkpoint"),
            ("protocol", "Protocol"), ("commit", "Commit"), ("seed", "Seed"), ("created", "Tested"),
        )
        if run.get(key) not in (None, "")
    ]  # fmt: skip
    versions: Mapping[str, Any] = run.get("versions") or {}
    if versions:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        entries.append(("Versions", text))
    config = [Details("The complete config", [Code(one.config)])] if one.config else []
    return [*([Pairs(entries)] if entries else []), *config]


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

    Raises:
        FileNotFoundError: If a work folder has no results.
        ResultsError: If results are damaged or the runs' class sets differ.
        ValueError: If there are no runs.
    """
    if not runs:
        raise ValueError("write_report needs at least one run")
    shown = with_unique_names([r if isinstance(r, ReportRun) else load_run(r) for r in runs])
    results = [run.results for run in shown]
    check_same_classes(results)
    drawings = Drawings(Path(out) / "figures")
    warnings = [Text(note, "warning") for note in image_notes(results)]
    note = Text(
        "Both averages are given for each data set: the mean of its domains' mIoUs, and the mIoU "
        "of the pooled confusion. Intervals are over images, by the jackknife and Student's t. "
        "Every figure is also a PNG file in figures/ beside this page.",
        "note",
    )
    sections = [
        Section("headline", "", [Cards([_card(r, len(results) > 1) for r in results]), *warnings]),
        Section("by-domain", "By domain", _domains(shown, drawings), "Domains"),
        Section("by-class", "By class and domain", of_each(shown, lambda s: _classes(s, drawings)),
                "Classes"),
        Section("difference", "Difference", _differences(shown, drawings)),
        Section("confusion", "Confusion", of_each(shown, lambda s: _confusion(s, drawings))),
        Section("calibration", "Calibration", of_each(shown, lambda s: _calibration(s, drawings))),
        Section("images", "Best, median and worst images",
                images(shown, lambda s: _images(s, drawings), _IMAGES, "Confidence"), "Images"),
        Section("scores", "What the domain encoder saw",
                of_each(shown, lambda s: _scores(s, drawings)), "Domain scores"),
        Section("provenance", "How it was made", [*of_each(shown, provenance), note]),
    ]  # fmt: skip
    page = Page(
        title or " / ".join(r.name for r in results), sections, "Segmentation across domains"
    )
    return write_page(page, Path(out) / "report.html")
