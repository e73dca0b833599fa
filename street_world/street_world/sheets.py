"""Contact sheets: scenes side by side, domains one below the other."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from street_world.files import atomic_write
from street_world.street import PALETTE, build, render, sample_scene


def contact_sheet(
    seeds: Sequence[int], domains: Sequence[str], strength: float, size: tuple[int, int]
) -> np.ndarray:
    """One scene a column, one domain a row with its name, the labels last; RGB uint8.

    Args:
        seeds: Of the scenes.
        domains: Any of the nine.
        strength: Of the weather, in [0, 1].
        size: Height and width of each picture.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(PALETTE)] = PALETTE
    columns = []
    for seed in seeds:
        scene = sample_scene(seed, tuple(size))
        geometry = build(scene)
        images = [render(scene, domain, strength, geometry).image for domain in domains]
        columns.append(np.vstack([*images, palette[geometry.buffer.label]]))
    sheet = np.ascontiguousarray(np.hstack(columns))
    scale = size[0] / 512
    for row, name in enumerate([*domains, "labels"]):
        at = (int(12 * scale) + 4, int(row * size[0] + 40 * scale) + 4)
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(
                sheet, name, at, cv2.FONT_HERSHEY_SIMPLEX, 1.4 * scale, colour, width, cv2.LINE_AA
            )
    return sheet


def write_contact_sheet(
    path: str | os.PathLike,
    seeds: Sequence[int],
    domains: Sequence[str],
    strength: float,
    size: tuple[int, int],
) -> None:
    """Write a contact sheet as a PNG.

    Raises:
        OSError: If it cannot be written.
    """
    sheet = contact_sheet(seeds, domains, strength, size)
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), sheet[..., ::-1]):
            raise OSError(f"{path} cannot be written")
