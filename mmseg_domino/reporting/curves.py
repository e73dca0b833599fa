"""How far the confidences of a test can be trusted: reliability and risk-coverage by domain."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..metrics import RunResults
from ..page import new_figure
from ..page.colours import RUNS
from ..page.pictures import STYLE, TEXT
from .figures import NARROW, WIDE, group_labels, ordered_groups

#: More lines than this cannot be told apart.
MAX_LINES = 12
LINES = ("-", "--")


def calibration_curves(run: RunResults, narrow: bool = False) -> Figure | None:
    """Accuracy by confidence, and risk by coverage, a line a domain.

    ``None`` if the test did not measure them, or for more domains than lines can be told apart.
    """
    groups = [group for group in ordered_groups([run]) if group.calibration is not None]
    if not 0 < len(groups) <= MAX_LINES:
        return None
    with matplotlib.rc_context(STYLE):
        figure = new_figure(*((NARROW, 7.2) if narrow else (WIDE, 3.9)))
        left, right = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, zorder=0)
        for index, (group, label) in enumerate(zip(groups, group_labels(groups, " "), strict=True)):
            style = {
                "color": RUNS[index % len(RUNS)],
                "linestyle": LINES[index // len(RUNS) % len(LINES)],
                "linewidth": 1.6,
            }
            c = group.calibration
            filled = np.isfinite(c.bin_confidence_ratio) & np.isfinite(c.bin_accuracy_ratio)
            left.plot(
                c.bin_confidence_ratio[filled], c.bin_accuracy_ratio[filled],
                marker="o", markersize=3, label=label, **style,
            )  # fmt: skip
            right.plot(c.coverage_ratio, c.risk_ratio, **style)
        _dress(left, "confidence", "accuracy (on the line: honest)")
        left.set_ylim(0, 1)
        _dress(right, "coverage: share of pixels kept, the surest first", "share of them wrong")
        right.set_ylim(bottom=0)
        columns = 2 if narrow else min(len(groups), 6)
        figure.legend(loc="outside upper left", ncols=columns, frameon=False)
    return figure


def _dress(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(0, 1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.tick_params(colors=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
