"""Figures and a self-contained page of a :class:`~mmseg_domino.apps.analysis.DomainAnalysis`.

Shapes: ``M`` images, ``K`` domains.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image
from torch import Tensor

from ..utils import atomic_write, resolve_below
from ..utils.images import DamagedImageError, read_image
from .analysis import DomainAnalysis, spread_out

__all__ = ["Thumbnails", "write_analysis"]

#: Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#E69F00", "#56B4E9", "#3B3B98", "#009E73", "#CC79A7", "#D55E00", "#B8A800", "#0072B2")
_UNKNOWN = "#999999"
_TEMPLATES = Path(__file__).parent / "templates"
_DPI = 150


@dataclass(frozen=True)
class Thumbnails:
    """Small versions of the store's images, where the images can be found.

    Args:
        root: The data root that the store's keys are relative to; ``None`` for no thumbnails.
        size: Longest side in pixels.
    """

    root: Path | None
    size: int = 128

    def get(self, key: str) -> Image.Image | None:
        """The thumbnail, or None if the file is not there or damaged."""
        if self.root is None:
            return None
        try:
            path = resolve_below(self.root, key, "the store", links="any")
            image = Image.fromarray(read_image(path))
        except (OSError, DamagedImageError):
            return None
        image.thumbnail((self.size, self.size))
        return image

    def uri(self, key: str) -> str | None:
        """The thumbnail as a data URI."""
        image = self.get(key)
        if image is None:
            return None
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_analysis(
    analysis: DomainAnalysis,
    positions: Tensor,
    method: str,
    thumbnails: Thumbnails,
    folder: Path,
    title: str,
    provenance: Mapping,
    points: int = 1500,
    pictures: int = 300,
    extremes: int = 12,
) -> Path:
    """Write the figures (PNG), the numbers (JSON) and the page (HTML).

    Args:
        analysis: The scores and conditions.
        positions: ``(M, 2)`` in [0, 1], see :func:`~mmseg_domino.apps.analysis.project`.
        method: What made the positions.
        thumbnails: Where pictures come from.
        folder: Where to write; made if need be.
        title: The page's title.
        provenance: The store's.
        points: Images on the page's map, at most, chosen to be spread out.
        pictures: How many of these show their picture under the pointer.
        extremes: How many of the most, and of the least, certain images to show.

    Returns:
        The page, ``folder/index.html``.
    """
    colours = _colours(analysis)
    order = analysis.certainty().argsort(descending=True).tolist()
    most, least = order[:extremes], order[::-1][:extremes]
    figures = {
        "scores": _draw_scores(analysis, colours),
        "map": _draw_map(analysis, positions, method, thumbnails, colours),
        "certain": _draw_strips(
            analysis, {"Most certain": most, "Least certain": least}, thumbnails
        ),
    }
    if analysis.known:
        figures = {"confusion": _draw_confusion(analysis)} | figures
    for name, figure in figures.items():
        with atomic_write(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=_DPI, facecolor="white")
    with atomic_write(folder / "analysis.json") as temporary:
        temporary.write_text(json.dumps(analysis.summary(), indent=1))
    shown = spread_out(positions, points)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("analysis.html").render(
        title=title,
        summary=analysis.summary(),
        percent=_row_percent(analysis),
        colours=colours,
        unknown=_UNKNOWN,
        method=method.upper(),
        points=_points(analysis, positions, shown, thumbnails, colours, pictures),
        extremes=[
            (name, [_card(analysis, i, thumbnails) for i in chosen])
            for name, chosen in (("Most certain", most), ("Least certain", least))
        ],
        histogram=_data_uri(folder / "scores.png"),
        provenance=provenance,
    )
    with atomic_write(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "index.html"


def _colours(analysis: DomainAnalysis) -> dict[str, str]:
    names = [*analysis.domains, *(c for c in analysis.known if c not in analysis.domains)]
    if len(names) <= len(_COLOURS):
        return dict(zip(names, _COLOURS, strict=False))
    hues = np.linspace(0, 1, len(names), endpoint=False)
    tones = ((h, 0.75, 0.6 if i % 2 else 0.85) for i, h in enumerate(hues))
    return {
        n: matplotlib.colors.to_hex(matplotlib.colors.hsv_to_rgb(t))
        for n, t in zip(names, tones, strict=True)
    }


def _colour_of(analysis: DomainAnalysis, index: int, colours: Mapping[str, str]) -> str:
    """By the true condition where any is known, else by the likeliest domain."""
    if not analysis.known:
        return colours[analysis.domains[int(analysis.predicted[index])]]
    condition = analysis.conditions[index]
    return _UNKNOWN if condition is None else colours[condition]


def _row_percent(analysis: DomainAnalysis) -> list[list[float]]:
    counts = analysis.confusion().double()
    return (100 * counts / counts.sum(dim=1, keepdim=True)).tolist()


def _draw_confusion(analysis: DomainAnalysis) -> Figure:
    counts, percent = analysis.confusion().tolist(), _row_percent(analysis)
    rows, columns = len(analysis.known), len(analysis.domains)
    figure = Figure(figsize=(2.2 + 0.95 * columns, 1.7 + 0.6 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for y in range(rows):
        for x in range(columns):
            axes.text(
                x,
                y,
                f"{percent[y][x]:.0f} %\n({counts[y][x]})",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if percent[y][x] > 55 else "black",
            )
    axes.set_xticks(range(columns), analysis.domains, rotation=30, ha="right")
    axes.set_yticks(range(rows), analysis.known)
    axes.set_xlabel("likeliest domain")
    axes.set_ylabel("true condition")
    accuracy = analysis.accuracy()
    if accuracy:
        axes.set_title(
            f"{accuracy['all']:.1f} % of images right, mean of conditions {accuracy['mean']:.1f} %",
            fontsize=10,
        )
    return figure


def _draw_scores(analysis: DomainAnalysis, colours: Mapping[str, str]) -> Figure:
    groups: Sequence[str | None] = analysis.known or (None,)
    columns = min(5, len(analysis.domains))
    rows = -(-len(analysis.domains) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.1 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    bins = np.linspace(0, 1, 21)
    for k, axes in enumerate(grid.flat):
        if k >= len(analysis.domains):
            axes.axis("off")
            continue
        for group in groups:
            scores = analysis.scores[analysis.of_condition(group), k].numpy()
            axes.hist(
                scores,
                bins,
                weights=np.full(len(scores), 100 / max(len(scores), 1)),
                histtype="step",
                linewidth=1.6,
                color=_UNKNOWN if group is None else colours[group],
                label=group or "all images",
            )
        axes.set_title(analysis.domains[k], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("score", fontsize=9)
    figure.supylabel("% of the condition's images", fontsize=9)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False, fontsize=9)
    return figure


def _draw_map(
    analysis: DomainAnalysis,
    positions: Tensor,
    method: str,
    thumbnails: Thumbnails,
    colours: Mapping[str, str],
    pictures: int = 45,
) -> Figure:
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    axes = figure.subplots()
    x, y = positions.T.numpy()
    edge = [_colour_of(analysis, i, colours) for i in range(len(analysis.keys))]
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
        axes.scatter([], [], c=_UNKNOWN, s=30, label="unknown")
    what = "true condition" if analysis.known else "likeliest domain"
    figure.legend(loc="outside upper center", ncols=6, frameon=False, title=what)
    axes.set_xlabel(f"{method.upper()} of the image embeddings")
    return figure


def _draw_strips(
    analysis: DomainAnalysis, strips: Mapping[str, Sequence[int]], thumbnails: Thumbnails
) -> Figure:
    columns = 6
    lines = [
        (name if first == 0 else "", chosen[first : first + columns])
        for name, chosen in strips.items()
        for first in range(0, len(chosen), columns)
    ]
    figure = Figure(figsize=(2 * columns, 1.95 * len(lines)), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False)
    certainty = analysis.certainty()
    for (name, chosen), row in zip(lines, grid, strict=True):
        for axes, i in zip(row, [*chosen, *[None] * (columns - len(chosen))], strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            if i is None:
                axes.axis("off")
                continue
            picture = thumbnails.get(analysis.keys[i])
            axes.imshow(np.full((90, 128, 3), 225, np.uint8) if picture is None else picture)
            axes.set_title(f"{_verdict(analysis, i)}\n{certainty[i]:.2f}", fontsize=7)
        row[0].set_ylabel(name, fontsize=9)
    return figure


def _verdict(analysis: DomainAnalysis, index: int) -> str:
    best = int(analysis.predicted[index])
    text = f"{analysis.domains[best]} {analysis.scores[index, best]:.2f}"
    condition = analysis.conditions[index]
    return text if condition is None else f"{text} (true: {condition})"


def _card(analysis: DomainAnalysis, index: int, thumbnails: Thumbnails) -> dict:
    return {
        "key": analysis.keys[index],
        "picture": thumbnails.uri(analysis.keys[index]),
        "verdict": _verdict(analysis, index),
        "scores": analysis.scores[index].tolist(),
        "certainty": float(analysis.certainty()[index]),
    }


def _points(
    analysis: DomainAnalysis,
    positions: Tensor,
    shown: Sequence[int],
    thumbnails: Thumbnails,
    colours: Mapping[str, str],
    pictures: int,
) -> list[dict]:
    return [
        {
            "x": round(float(positions[i, 0]), 4),
            "y": round(1 - float(positions[i, 1]), 4),
            "colour": _colour_of(analysis, i, colours),
            "key": analysis.keys[i],
            "verdict": _verdict(analysis, i),
            "picture": thumbnails.uri(analysis.keys[i]) if n < pictures else None,
        }
        for n, i in enumerate(shown)
    ]


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
