"""Example images of a detector's test, with boxes and masks drawn.

Shapes: ``P`` objects, ``H W`` the image.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..metrics import DetectionResults, average_precision
from ..page.colours import text_on
from .examples import Selection, select_ranked


def select_detection_examples(results: DetectionResults, number: int = 1) -> list[Selection]:
    """The best, median and worst images of each group by their own AP50 of boxes or masks.

    Images without objects have none and are left out. See :func:`select_examples`.
    """
    values, groups, images = [], [], []
    for key, names in results.images.items():
        matches = results.matches[key][results.kinds[0]]
        ap50 = average_precision(matches, np.eye(len(names)))[:, :, 0]
        known = ~np.isnan(ap50)
        total = np.where(known, ap50, 0).sum(1)
        values += np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan).tolist()
        groups += [str(key)] * len(names)
        images += names
    return select_ranked(np.array(values), groups, images, number)


def draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    names: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """An image with boxes, their names, and masks laid over it.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(P, 4)`` corners in pixels.
        names: ``P`` texts.
        colours: ``P`` RGB triples.
        masks: ``(P, H, W)`` bool.
    """
    picture = image.copy()
    for mask, colour in zip(() if masks is None else masks, colours, strict=False):
        picture[mask] = (0.55 * picture[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    size = max(9, min(22, image.shape[1] // 60))
    font = ImageFont.load_default(size)
    for box, name, colour in zip(boxes.tolist(), names, colours, strict=True):
        x1, y1, x2, y2 = box
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=tuple(colour), width=2)
        top = max(0, y1 - size - 2)
        draw.rectangle((x1, top, x1 + font.getlength(name) + 4, top + size + 2), fill=tuple(colour))
        ink = text_on([c / 255 for c in colour])
        draw.text((x1 + 2, top), name, font=font, fill=ink)
    return np.asarray(canvas)
