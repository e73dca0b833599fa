"""Drawing a prediction over its image, with legend and domain.

Shapes: ``H W`` spatial, ``N`` classes, ``K`` domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..page.colours import text_on

#: Classes that cover less than this share of the picture are not in its legend.
LEAST_SHARE = 0.001


@dataclass(frozen=True)
class DomainLine:
    """What is written about the domain.

    Attributes:
        names: ``K`` domains; empty if none was predicted.
        scores: ``K`` ratios.
        forced: The domain that was put in place of the predicted one, or ``None``.
    """

    names: Sequence[str] = ()
    scores: Sequence[float] = ()
    forced: str | None = None

    def parts(self) -> list[str]:
        """What is forced, and the three likeliest domains."""
        ranked = sorted(zip(self.scores, self.names, strict=True), reverse=True)
        predicted = [f"{_plain(name)} {100 * score:.0f} %" for score, name in ranked[:3]]
        if predicted:
            predicted[0] = f"domain: {predicted[0]}"
        forced = [] if self.forced is None else [f"forced: {_plain(self.forced)}"]
        return [*forced, *predicted] or ["no domain predicted"]

    def __str__(self) -> str:
        return ", ".join(self.parts())


def _plain(domain: str) -> str:
    return domain.replace("_", " ")


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    palette: Sequence[tuple[int, int, int]],
    opacity: float = 0.55,
) -> np.ndarray:
    """Lay class colours over an image.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        labels: ``(H, W)`` class indices; values beyond the palette leave the image as it is.
        palette: ``N`` RGB triples.
        opacity: 0 shows the image, 1 the classes.

    Raises:
        ValueError: If the sizes differ or the opacity is not in [0, 1].
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"the image is {image.shape[:2]}, the labels are {labels.shape}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be between 0 and 1, got {opacity}")
    known = labels < len(palette)
    colours = np.array(palette, np.float32)[np.where(known, labels, 0)]
    mixed = (1 - opacity) * image + opacity * colours
    return np.where(known[..., None], mixed.round(), image).astype(np.uint8)


def annotate(
    picture: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
    domain: DomainLine,
) -> np.ndarray:
    """Add a line about the domain above a picture, and a legend of its classes below.

    The legend lists the classes that occur, the largest first, each in its colour with the share
    of the picture that it covers.

    Returns:
        ``(H + some, W, 3)`` uint8.
    """
    width = picture.shape[1]
    size = max(12, min(28, width // 45))
    font = ImageFont.load_default(size)
    head = _strip(
        width, _wrapped([(part, None) for part in domain.parts()], width, size, font), size, font
    )
    counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
    shares = counts / labels.size
    shown = [int(i) for i in np.argsort(-shares) if shares[i] >= LEAST_SHARE]
    entries = [(f"{classes[i]} {_percent(shares[i])}", tuple(palette[i])) for i in shown]
    foot = _strip(width, _wrapped(entries, width, size, font), size, font)
    return np.concatenate([head, picture, foot])


def _percent(share: float) -> str:
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %"


_Entry = tuple[str, tuple[int, int, int] | None]


def _entry_width(text: str, size: int, font: ImageFont.ImageFont) -> int:
    return round(font.getlength(text)) + size


def _wrapped(
    entries: Sequence[_Entry], width: int, size: int, font: ImageFont.ImageFont
) -> list[list[_Entry]]:
    """Entries in as many lines as it takes."""
    lines: list[list[_Entry]] = [[]]
    used = size // 2
    for entry in entries:
        needed = _entry_width(entry[0], size, font) + size // 2
        if lines[-1] and used + needed > width:
            lines.append([])
            used = size // 2
        lines[-1].append(entry)
        used += needed
    return lines


def _strip(
    width: int, lines: Sequence[Sequence[_Entry]], size: int, font: ImageFont.ImageFont
) -> np.ndarray:
    """White lines of text, each entry on its colour."""
    row = round(size * 1.8)
    image = Image.new("RGB", (width, row * len(lines) + size // 2), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        x, y = size // 2, size // 4 + number * row
        for text, colour in line:
            wide = _entry_width(text, size, font)
            ink = "black"
            if colour is not None:
                draw.rounded_rectangle((x, y, x + wide, y + row - 3), size // 4, fill=colour)
                ink = text_on([c / 255 for c in colour])
            middle = (x + (size // 2 if colour else 0), y + (row - 3) / 2)
            draw.text(middle, text, font=font, fill=ink, anchor="lm")
            x += wide + size // 2
    return np.asarray(image)
