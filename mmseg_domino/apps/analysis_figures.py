"""Figures of a :class:`~mmseg_domino.apps.analysis.DomainAnalysis`, and the pictures in them.

Shapes: ``M`` images, ``K`` domains.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from torch import Tensor

from ..page import data_uri, new_figure
from ..page.pictures import STYLE
from ..reporting.figures import NARROW, heat_map
from ..utils import resolve_below
from ..utils.images import read_image
from .analysis import DomainAnalysis, spread_out

#: Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#E69F00", "#56B4E9", "#3B3B98", "#009E73", "#CC79A7", "#D55E00", "#B8A800", "#0072B2")
UNKNOWN = "#999999"


class Thumbnails:
    """Small versions of the store's images, where the images can be found.

    Args:
        roots: Data roots that the store's keys are relative to: an image is looked for in each.
        size: Longest side in pixels.
    """

    def __init__(self, roots: Sequence[Path] = (), size: int = 128) -> None:
        self.roots, self.size = [Path(root) for root in roots], size
        self.unread: dict[str, None] = {}
        self._seen: dict[str, Image.Image | None] = {}

    def get(self, key: str) -> Image.Image | None:
        """The thumbnail; ``None`` if the file is not there or damaged."""
        if key not in self._seen:
            self._seen[key] = self._read(key)
            if self._seen[key] is None and self.roots:
                self.unread[key] = None
        return self._seen[key]

    def _read(self, key: str) -> Image.Image | None:
        for root in self.roots:
            path = resolve_below(root, key, "the store", links="any")
            try:
                if path.is_file():
                    image = Image.fromarray(read_image(path))
                    image.thumbnail((self.size, self.size))
                    return image
            except (OSError, ValueError):
                continue
        return None

    def uri(self, key: str) -> str | None:
        """The thumbnail as a data URI."""
        image = self.get(key)
        return None if image is None else data_uri(image)


def draw_confusion(analysis: DomainAnalysis, narrow: bool = False) -> Figure:
    counts = analysis.confusion().double().numpy()
    percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    rows, columns = (
        [name.replace("_", "\n") for name in names] for names in (analysis.known, analysis.domains)
    )
    with matplotlib.rc_context(STYLE):
        width = NARROW if narrow else max(4.5, 2.2 + 0.85 * len(columns))
        figure = new_figure(width, 1.1 + 0.45 * len(rows))
        axes = figure.add_subplot()
        small = narrow and len(columns) > 6
        heat_map(axes, percent, rows, columns, Normalize(0, 100), "cividis",
                 fontsize=6.5 if small else 8)  # fmt: skip
        axes.set_xlabel("likeliest domain")
        axes.set_ylabel("true condition")
    return figure


def domain_colours(analysis: DomainAnalysis) -> dict[str, str]:
    names = [*analysis.domains, *(c for c in analysis.known if c not in analysis.domains)]
    if len(names) <= len(_COLOURS):
        return dict(zip(names, _COLOURS, strict=False))
    hues = np.linspace(0, 1, len(names), endpoint=False)
    tones = ((h, 0.75, 0.6 if i % 2 else 0.85) for i, h in enumerate(hues))
    return {
        n: matplotlib.colors.to_hex(matplotlib.colors.hsv_to_rgb(t))
        for n, t in zip(names, tones, strict=True)
    }


def colour_of(analysis: DomainAnalysis, index: int, colours: Mapping[str, str]) -> str:
    """By the true condition where any is known, else by the likeliest domain."""
    if not analysis.known:
        return colours[analysis.domains[int(analysis.predicted[index])]]
    condition = analysis.conditions[index]
    return UNKNOWN if condition is None else colours[condition]


def draw_scores(
    analysis: DomainAnalysis, colours: Mapping[str, str], narrow: bool = False
) -> Figure:
    groups: Sequence[str | None] = analysis.known or (None,)
    columns = min(2 if narrow else 5, len(analysis.domains))
    rows = -(-len(analysis.domains) // columns)
    width = NARROW if narrow else max(2.1 * columns, 3.5)
    figure = new_figure(width, 1.8 * rows + 0.5 + 0.2 * (len(groups) / (2 if narrow else 5)))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    bins = np.linspace(0, 1, 21)
    for k, axes in enumerate(grid.flat):
        if k >= len(analysis.domains):
            axes.axis("off")
            continue
        for group in groups:
            scores = analysis.scores[analysis.of_condition(group), k].numpy()
            axes.hist(
                scores, bins, weights=np.full(len(scores), 100 / max(len(scores), 1)),
                histtype="step", linewidth=1.6, label=group or "all images",
                color=UNKNOWN if group is None else colours[group],
            )  # fmt: skip
        axes.set_title(analysis.domains[k], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("score", fontsize=9)
    figure.supylabel("% of the images", fontsize=9)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    style = {"loc": "outside upper center", "frameon": False, "fontsize": 9}
    figure.legend(handles, labels, ncols=2 if narrow else 5, **style)
    return figure


def draw_map(
    analysis: DomainAnalysis,
    positions: Tensor,
    method: str,
    thumbnails: Thumbnails,
    colours: Mapping[str, str],
    pictures: int = 45,
) -> Figure:
    figure = new_figure(10, 7.5)
    axes = figure.subplots()
    x, y = positions.T.numpy()
    edge = [colour_of(analysis, i, colours) for i in range(len(analysis.keys))]
    axes.scatter(x, y, c=edge, s=14, linewidths=0, alpha=0.8)
    for i in spread_out(positions, pictures):
        picture = thumbnails.get(analysis.keys[i])
        if picture is None:
            continue
        box = OffsetImage(np.asarray(picture), zoom=52 / max(picture.size))
        frame = {"edgecolor": edge[i], "linewidth": 2, "boxstyle": "square,pad=0.05"}
        axes.add_artist(AnnotationBbox(box, (x[i], y[i]), pad=0.05, bboxprops=frame))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.06)
    names = analysis.known or analysis.domains
    for name in names:
        axes.scatter([], [], c=colours[name], s=30, label=name)
    if analysis.known and None in analysis.conditions:
        axes.scatter([], [], c=UNKNOWN, s=30, label="unknown")
    what = "true condition" if analysis.known else "likeliest domain"
    figure.legend(loc="outside upper center", ncols=6, frameon=False, title=what)
    axes.set_xlabel(f"{method.upper()} of the image embeddings")
    return figure


def verdict(analysis: DomainAnalysis, index: int) -> str:
    best = int(analysis.predicted[index])
    text = f"{analysis.domains[best]} {analysis.scores[index, best]:.2f}"
    condition = analysis.conditions[index]
    return text if condition is None else f"{text} (true: {condition})"
