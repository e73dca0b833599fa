"""Sliding windows whose crops are computed in batches.

Shapes: ``B`` images, ``G`` windows, ``N`` classes, ``H W`` the image's size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["accumulate_windows", "window_positions"]


def window_positions(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int]]:
    """Top left corners of the windows that cover an image, as MMSegmentation places them.

    Args:
        size: ``(H, W)``.
        crop: Height and width of a window; a window larger than the image is cut to it.
        stride: Vertical and horizontal step.

    Returns:
        ``G`` pairs ``(top, left)``, row by row. The last window of a row or column ends at the
        border, so all windows have the same size.
    """

    def starts(length: int, window: int, step: int) -> list[int]:
        count = max(length - window + step - 1, 0) // step + 1
        return [max(min(i * step + window, length) - window, 0) for i in range(count)]

    (h, w), (crop_h, crop_w), (step_h, step_w) = size, crop, stride
    return [(y, x) for y in starts(h, crop_h, step_h) for x in starts(w, crop_w, step_w)]


def accumulate_windows(
    positions: Sequence[tuple[int, int]],
    crop: tuple[int, int],
    size: tuple[int, int],
    predict: Callable[[Sequence[tuple[int, int]]], Tensor],
    windows_per_batch: int,
) -> Tensor:
    """Average overlapping window predictions into one map.

    Args:
        positions: ``G`` top left corners.
        crop: Height and width of a window, at most ``size``.
        size: ``(H, W)``.
        predict: Gives the logits of some windows, ``(len(chunk), B, N, *crop)``.
        windows_per_batch: How many windows ``predict`` gets at once.

    Returns:
        ``(B, N, H, W)``.
    """
    total, count = None, None
    for first in range(0, len(positions), windows_per_batch):
        chunk = positions[first : first + windows_per_batch]
        for (y, x), logits in zip(chunk, predict(chunk), strict=True):
            if total is None:
                total = logits.new_zeros((*logits.shape[:2], *size))
                count = logits.new_zeros(size)
            total[:, :, y : y + crop[0], x : x + crop[1]] += logits
            count[y : y + crop[0], x : x + crop[1]] += 1
    return torch.div(total, count, out=total)
