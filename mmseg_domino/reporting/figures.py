"""The figures of a report, as matplotlib figures.

Each function takes results and returns a ``Figure``; nothing touches pyplot's global state.
``narrow=True`` gives the drawing for a phone: the same content at a width at which its text stays
readable on 390 pixels. Shapes: ``N`` classes, ``G`` groups, ``K`` domains of the prompt bank.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..metrics import Figure as Value
from ..metrics import Group, GroupResult, Results, RunResults, check_same_classes
from ..page import new_figure
from ..page.colours import DIVERGING, SEQUENTIAL, run_colour, text_on
from ..page.pictures import STYLE, TEXT
from .examples import Example, ExampleArrays, render_pixels

WIDE, NARROW = 9.6, 4.3


def group_labels(groups: Sequence[Group], separator: str = "\n") -> list[str]:
    """Short readable names of groups: the domain alone where it is unambiguous."""
    domains = [group.domain for group in groups]
    one = len({group.dataset for group in groups}) == 1 and len(set(domains)) == len(domains)
    return [
        group.domain.replace("_", " ") + ("" if one else f"{separator}({group.dataset})")
        for group in groups
    ]


def ordered_groups(runs: Sequence[Results]) -> list[Group]:
    """Every group of any run once, the source first."""
    groups = {key: group for run in runs for key, group in run.groups.items()}
    sources = {run.source for run in runs}
    return sorted(groups.values(), key=lambda group: group.key not in sources)


def domain_bars(
    runs: Sequence[Results], name: str = "mIoU", title: str = "mIoU", narrow: bool = False
) -> Figure:
    """The figure of a name, percent, by domain as bars with 95 % intervals, runs side by side.

    The number behind a bar is the figure; what follows in brackets is the share of the source's.
    A domain that a run was not tested on says so.
    """
    groups = ordered_groups(runs)
    bar = 0.8 / len(runs)
    height = 0.9 + len(groups) * max(0.42, 0.24 * len(runs)) + 0.2 * len(runs) * (len(runs) > 1)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(NARROW if narrow else WIDE, height)
        axes = figure.add_subplot()
        for i, run in enumerate(runs):
            for row, group in enumerate(groups):
                y = row + (i - (len(runs) - 1) / 2) * bar
                found = run.figures.get(f"{group.key}/{name}")
                if found is None or np.isnan(found.value):
                    said = "not tested" if found is None else "nothing to be measured by"
                    axes.text(0.8, y, said, va="center", fontsize=8, style="italic", color=TEXT)
                else:
                    relative = run.figures.get(f"{group.key}/relative_{name}")
                    _draw_bar(axes, y, bar, run_colour(i), found, relative)
        axes.set_yticks(range(len(groups)), group_labels(groups, "\n" if narrow else " "))
        axes.tick_params(axis="y", length=0, colors=TEXT)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel(f"{title}, percent (whiskers: 95 % interval)")
        axes.grid(axis="x", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        if len(runs) > 1:
            looks = map(run_colour, range(len(runs)))
            bars = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=run.name)
                    for run, (colour, hatch) in zip(runs, looks, strict=True)]  # fmt: skip
            columns = 1 if narrow else 2
            figure.legend(handles=bars, loc="outside upper left", ncols=columns, frameon=False)
    return figure


def _draw_bar(
    axes: Axes, y: float, bar: float, look: tuple[str, str], found: Value, relative: Value | None
) -> None:
    colour, hatch = look
    axes.barh(y, found.value, bar * 0.9, color=colour, hatch=hatch, edgecolor="white")
    end = found.value
    if found.interval is not None:
        low, high = found.interval
        axes.plot([low, high], [y, y], color="black", linewidth=1.3, solid_capstyle="butt")
        for x in (low, high):
            axes.plot([x, x], [y - bar * 0.16, y + bar * 0.16], color="black", linewidth=1.3)
        end = max(end, high)
    note = "" if relative is None else f"  ({relative.value:.0f} %)"
    axes.text(end + 1.5, y, f"{found.value:.1f}{note}", va="center", fontsize=8.5, color=TEXT)


def heat_map(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    norm: Normalize,
    cmap: str,
    annotate: str | None = "{:.0f}",
    least: float = -np.inf,
    fontsize: float = 8,
) -> ScalarMappable:
    """Draw values with their numbers; NaN cells are hatched, not coloured."""
    colours = matplotlib.colormaps[cmap]
    axes.set_facecolor("white")
    axes.add_patch(
        Rectangle(
            (-0.5, -0.5), len(columns), len(rows), hatch="////", fill=False, edgecolor="#cccccc",
            linewidth=0, zorder=0,
        )
    )  # fmt: skip
    image = axes.imshow(
        np.ma.masked_invalid(values), norm=norm, cmap=colours, aspect="auto",
        interpolation="nearest", zorder=1,
    )  # fmt: skip
    for i, j in np.ndindex(values.shape):
        value = values[i, j]
        if annotate is None or np.isnan(value) or abs(value) < least:
            continue
        colour = text_on(colours(norm(value)))
        text = annotate.format(value)
        # "-0" and "+0" are rounding, not a direction.
        text = text.lstrip("+-") if not text.strip("+-0.") else text
        # Inside the axes in any case; measuring 361 of them would double the time of a drawing.
        axes.text(
            j, i, text, ha="center", va="center", fontsize=fontsize, color=colour, in_layout=False
        )
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, colors=TEXT)
    longest = max((len(line) for name in columns for line in name.split("\n")), default=0)
    if len(columns) > 8 or longest > 14:
        axes.tick_params(axis="x", rotation=90)
    # As two collections: minor ticks with a grid take as long to draw as all the rest.
    right, bottom = len(columns) - 0.5, len(rows) - 0.5
    style = {"color": "white", "linewidth": 0.8, "zorder": 2}
    axes.vlines(np.arange(0.5, right), -0.5, bottom, **style)
    axes.hlines(np.arange(0.5, bottom), -0.5, right, **style)
    axes.set_xlim(-0.5, right)
    axes.set_ylim(bottom, -0.5)
    axes.spines[:].set_visible(False)
    return image


def _colour_bar(image: ScalarMappable, axes: Axes, label: str, pad=0.02, ticks=None) -> None:
    bar = axes.figure.colorbar(
        image, ax=axes, location="bottom", aspect=40, pad=pad, shrink=0.8, ticks=ticks, label=label
    )
    bar.outline.set_visible(False)


def _classes_by_group(
    values: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[GroupResult],
    norm: Normalize,
    cmap: str,
    annotate: str,
    unit: str,
    narrow: bool,
) -> Figure:
    """A heat map of ``values (N + 1, G)``, whose first row is the mIoU."""
    rows = ["mIoU", *classes]
    labels = group_labels(groups)
    swapped = len(groups) > len(rows)  # 75 corruptions of Cityscapes-C go downwards
    if swapped:
        values, rows, labels = values.T, [label.replace("\n", " ") for label in labels], rows
    width = NARROW if narrow else min(WIDE, max(5.5, 1.6 + 1.1 * len(labels)))
    crowded = len(labels) > (6 if narrow else 20)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(width, 1.3 + 0.24 * len(rows))
        axes = figure.add_subplot()
        image = heat_map(
            axes, values, rows, labels, norm, cmap, annotate, fontsize=5.5 if crowded else 8
        )
        # Set the mean apart from the classes.
        line = axes.axvline if swapped else axes.axhline
        line(0.5, color="black", linewidth=1.2)
        _colour_bar(image, axes, unit)
    return figure


def class_heat_map(run: RunResults, narrow: bool = False) -> Figure:
    """IoU by class and domain, percent; a class that does not occur is hatched."""
    groups = ordered_groups([run])
    values = np.stack([np.array([g.miou, *g.iou]) for g in groups], axis=1)
    return _classes_by_group(
        values, run.classes, groups, Normalize(0, 100), SEQUENTIAL, "{:.0f}", "IoU, percent", narrow
    )


def difference_heat_map(first: RunResults, second: RunResults, narrow: bool = False) -> Figure:
    """IoU of ``second`` minus IoU of ``first`` by class and domain, in points.

    Domains that only one of them was tested on are left out.

    Raises:
        ResultsError: If the class sets differ.
        ValueError: If they have no domain in common.
    """
    check_same_classes([first, second])
    groups = [g for g in ordered_groups([first, second]) if common(g.key, first, second)]
    if not groups:
        raise ValueError(f"'{first.name}' and '{second.name}' were tested on no common domain")
    columns = []
    for group in groups:
        a, b = first.groups[group.key], second.groups[group.key]
        columns.append(np.array([b.miou - a.miou, *(b.iou - a.iou)]))
    values = np.stack(columns, axis=1)
    # One runaway class must not bleach all others.
    finite = np.abs(values[np.isfinite(values)])
    limit = max(2.0, float(np.quantile(finite, 0.95))) if finite.size else 2.0
    return _classes_by_group(
        values, first.classes, groups, Normalize(-limit, limit), DIVERGING, "{:+.1f}",
        "change of IoU, points (orange: better, purple: worse)", narrow,
    )  # fmt: skip


def common(key: str, *runs: RunResults) -> bool:
    """Whether every run was tested on the group."""
    return all(key in run.groups for run in runs)


def confusion_heat_map(
    confusion: np.ndarray, classes: Sequence[str], narrow: bool = False
) -> Figure:
    """Where the pixels of each class went: rows truth, columns prediction, percent of the row.

    The colour scale is that of the square root, so that an error of a few percent shows.
    """
    total = confusion.sum(axis=1, keepdims=True)
    share = np.divide(100 * confusion, total, out=np.full(confusion.shape, np.nan), where=total > 0)
    with matplotlib.rc_context(STYLE):
        width = NARROW if narrow else min(WIDE, max(4.5, 2 + 0.37 * len(classes)))
        figure = new_figure(width, 1.9 + (0.2 if narrow else 0.3) * len(classes))
        axes = figure.add_subplot()
        size = (4.5 if narrow else 7) if len(classes) > 12 else 8
        image = heat_map(
            axes, share, classes, classes, PowerNorm(0.5, 0, 100), SEQUENTIAL, least=1,
            fontsize=size,
        )  # fmt: skip
        axes.tick_params(axis="x", rotation=90)
        if narrow and len(classes) > 12:
            axes.tick_params(labelsize=7)
        axes.set_ylabel("truth")
        axes.set_xlabel("prediction")
        _colour_bar(image, axes, "percent of the true pixels", ticks=[0, 1, 5, 10, 25, 50, 100])
    return figure


def domain_score_heat_map(run: RunResults, narrow: bool = False) -> Figure | None:
    """Mean scores the domain encoder gave (columns) to the images of each domain (rows), percent.

    ``None`` if the test recorded none.

    Raises:
        ValueError: If groups were scored with different prompt banks.
    """
    groups = [g for g in ordered_groups([run]) if g.domain_scores is not None]
    if not groups:
        return None
    names = groups[0].domain_scores.names
    if any(g.domain_scores.names != names for g in groups):
        raise ValueError(f"'{run.name}': the groups were scored with different prompt banks")
    values = 100 * np.array([g.domain_scores.mean for g in groups])
    with matplotlib.rc_context(STYLE):
        width = NARROW if narrow else min(WIDE, max(5.5, 2.2 + 0.95 * len(names)))
        figure = new_figure(width, 1.5 + 0.42 * len(groups))
        axes = figure.add_subplot()
        columns = [name.replace("_", " " if len(names) > 8 else "\n") for name in names]
        rows = group_labels(groups)
        image = heat_map(axes, values, rows, columns, Normalize(0, 100), SEQUENTIAL)
        axes.set_ylabel("true domain")
        axes.set_xlabel("domain of the prompt bank")
        _colour_bar(image, axes, "mean score, percent", pad=0.03)
    return figure


def example_grid(
    examples: Sequence[tuple[Example, Mapping[str, np.ndarray]]],
    palette: Sequence[tuple[int, int, int]],
) -> Figure:
    """Rows of input, truth, prediction, error and confidence, an image a row."""
    names = ("input", "truth", "prediction", "error", "confidence")
    height, width = examples[0][1]["prediction"].shape
    cell = 2.6
    with matplotlib.rc_context(STYLE):
        figure = new_figure(cell * len(names), len(examples) * (cell * height / width + 0.28) + 0.2)
        grid = figure.subplots(len(examples), len(names), squeeze=False)
        for row, (example, stored) in zip(grid, examples, strict=True):
            pictures = render_pixels(ExampleArrays(**stored).reduced(480), palette)
            for axes, name in zip(row, names, strict=True):
                axes.set_axis_off()
                if name in pictures:
                    axes.imshow(pictures[name], aspect="equal")
                axes.set_title(name, fontsize=8, color=TEXT)
            note = f"{example.kind}: {example.miou:.1f} % ({example.rank} of {example.count})"
            row[0].set_title(f"{note}    input", fontsize=8, color=TEXT, loc="left")
    return figure
