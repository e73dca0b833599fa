"""Figures and images as files, arrays and ``data:`` URIs.

Shapes: ``H W`` spatial.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..utils import atomic_write
from .blocks import Chart

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so drawings agree between machines
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "svg.hashsalt": "mmseg_domino",  # else ids, and so files, differ between calls
}
TEXT = "#222222"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches; nothing touches pyplot's global state."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def figure_bytes(figure: Figure, kind: str = "png", dpi: int = 150) -> bytes:
    """The figure as a ``'png'`` or ``'svg'`` file, the same bytes for the same figure."""
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        if figure.get_layout_engine() is not None:
            # Once is enough for all the files of a figure.
            figure.get_layout_engine().execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)
    return stream.getvalue()


def figure_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The figure as an RGB image ``(H, W, 3)`` uint8, as MMEngine's visualiser takes it."""
    return np.asarray(Image.open(io.BytesIO(figure_bytes(figure, "png", dpi))).convert("RGB"))


def data_uri(picture: Figure | Image.Image | np.ndarray, kind: str = "jpeg", side: int = 0) -> str:
    """A picture as a ``data:`` URI.

    Args:
        picture: A figure (becomes SVG), an image, or an array ``(H, W, 3)`` uint8.
        kind: Of an image: ``'jpeg'`` or ``'png'``.
        side: Longest side in pixels; 0 leaves the image as it is.
    """
    if isinstance(picture, Figure):
        kind, content = "svg+xml", figure_bytes(picture, "svg")
    else:
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        if side:
            image = image.copy()
            image.thumbnail((side, side))
        stream = io.BytesIO()
        image.save(stream, kind, **({"quality": 85} if kind == "jpeg" else {"optimize": True}))
        content = stream.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@dataclass
class Drawings:
    """Draws figures into a page and, as PNG files, into a folder."""

    folder: Path
    files: list[Path] = field(default_factory=list)

    def chart(self, key: str, caption: str, wide: Figure, narrow: Figure | None = None) -> Chart:
        """A figure for the page, and ``KEY.png``."""
        self.save(key, wide)
        return Chart(key, caption, data_uri(wide), narrow and data_uri(narrow))

    def both(
        self, key: str, caption: str, draw: Callable[..., Figure | None], *arguments: Any
    ) -> Chart | None:
        """What ``draw`` makes, wide and with ``narrow=True``; ``None`` if it makes nothing."""
        wide = draw(*arguments)
        return wide and self.chart(key, caption, wide, draw(*arguments, narrow=True))

    def save(self, key: str, figure: Figure) -> None:
        """Only the file."""
        file = self.folder / f"{key}.png"
        with atomic_write(file) as temporary:
            temporary.write_bytes(figure_bytes(figure))
        self.files.append(file)
