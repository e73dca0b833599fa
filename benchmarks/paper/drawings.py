"""Figures of conditions and claims."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from benchmarks.paper.decisions import DECIDING, Decision
from mmseg_domino.experiments.collect import Condition
from mmseg_domino.experiments.tables import condition_estimate, condition_interval
from mmseg_domino.page import Estimate, Interval, new_figure
from mmseg_domino.page.colours import RUNS
from mmseg_domino.page.pictures import STYLE, TEXT

#: By verdict; each also has a marker of its own.
VERDICT_COLOURS = {"holds": "#009E73", "does not hold": "#D55E00", "cannot be told": "#7A7F85"}
_MARKERS = {"holds": "o", "does not hold": "X", "cannot be told": "s"}


def _axes(rows: int, width: float = 8.6):
    figure = new_figure(width, 0.9 + 0.34 * rows)
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, colors=TEXT)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_ylim(rows - 0.5, -0.5)
    return figure, axes


def question_figure(
    conditions: Sequence[Condition], labels: Sequence[str], figure_name: str, unit: str
) -> Figure:
    """A row a condition: mean over seeds, its 95 % interval over images, and every seed.

    Args:
        conditions: What is compared.
        labels: Names of the rows.
        figure_name: As of :func:`~mmseg_domino.metrics.figures`.
        unit: Below the axis.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(len(conditions))
        for row, condition in enumerate(conditions):
            estimate = condition_estimate(condition, figure_name)
            if not isinstance(estimate, Estimate):
                axes.text(0.01, row, estimate.reason, transform=axes.get_yaxis_transform(),
                          va="center", fontsize=8, style="italic", color=TEXT)  # fmt: skip
                continue
            interval = condition_interval(condition, figure_name)
            if isinstance(interval, Interval):
                axes.plot([interval.low, interval.high], [row, row], color=RUNS[0], linewidth=2)
            seeds = [run.results.figures[figure_name].value for run in condition.present]
            axes.plot(seeds, [row + 0.22] * len(seeds), "|", color=TEXT, markersize=7)
            axes.plot(estimate.mean, row, "o", color=RUNS[0], markersize=7)
        axes.set_yticks(range(len(conditions)), labels)
        axes.set_xlabel(f"{unit} (line: 95 % interval over images; ticks: seeds)")
    return figure


def claims_figure(decisions: Sequence[Decision]) -> Figure:
    """A row a comparison: the difference with its interval, coloured by its verdict."""
    rows = [(d, c) for d in decisions for c in d.comparisons]
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(len(rows))
        labels = []
        for row, (decision, comparison) in enumerate(rows):
            several = len(decision.comparisons) > 1
            name = comparison.than[1]
            labels.append(decision.claim.text + (f" [{name}]" if several else ""))
            found = comparison.contrasts.get(DECIDING)
            if found is None:
                axes.text(0.01, row, "no seed in common", transform=axes.get_yaxis_transform(),
                          va="center", fontsize=8, style="italic", color=TEXT)  # fmt: skip
                continue
            verdict = comparison.verdict()
            colour = VERDICT_COLOURS[verdict]
            axes.plot([found.low, found.high], [row, row], color=colour, linewidth=2)
            axes.plot(found.difference, row, _MARKERS[verdict], color=colour, markersize=7)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_xlabel("difference of the target mIoU, points (95 % interval)")
    return figure
