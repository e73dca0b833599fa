"""Bootstrap intervals of mIoU over images.

Shapes: ``M`` images, ``N`` classes, ``R`` resamples. Figures are percentages.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from .confusion import iou_from_counts, mean_over_classes

__all__ = ["bootstrap_counts", "bootstrap_miou", "percentile_interval", "resample_groups"]


def _seed_of(name: str, seed: int = 0) -> np.random.SeedSequence:
    """A seed that depends on a group's name, not on which other groups there are."""
    return np.random.SeedSequence([seed, zlib.crc32(name.encode())])


def bootstrap_counts(
    counts: np.ndarray, resamples: int = 1000, seed: int | np.random.SeedSequence = 0
) -> np.ndarray:
    """Sums of per-image counts over resamples of the images, drawn with replacement.

    How often each image is drawn is a multinomial variable, so that all resamples are one matrix
    product. Float64 holds the sums exactly (below 2**53 pixels).

    Args:
        counts: ``(M, ...)`` pixel counts.
        resamples: ``R``.
        seed: Of the draws.

    Returns:
        ``(R, ...)`` float64.

    Raises:
        ValueError: If there is no image.
    """
    images = len(counts)
    if images == 0:
        raise ValueError("cannot resample a group without images")
    rng = np.random.default_rng(seed)
    flat = np.asarray(counts, dtype=np.float64).reshape(images, -1)
    sums = np.empty((resamples, flat.shape[1]))
    # Blocks bound the memory at about 32 MB, whatever the number of images.
    block = max(1, 4_000_000 // images)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        draws = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        weights = np.bincount(draws.ravel(), minlength=rows * images).reshape(rows, images)
        sums[start : start + rows] = weights.astype(np.float64) @ flat
    return sums.reshape(resamples, *np.shape(counts)[1:])


def bootstrap_miou(sums: np.ndarray) -> np.ndarray:
    """mIoU of each resample.

    Args:
        sums: ``(R, 3, N)`` intersection, prediction and label counts.

    Returns:
        ``(R,)`` percent.
    """
    return mean_over_classes(iou_from_counts(sums[:, 0], sums[:, 1], sums[:, 2]))


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """The central interval of resampled figures; ``None`` if none of them is a number.

    Args:
        values: ``(R,)`` figures.
        level: Share that the interval holds, in (0, 1).
    """
    values = np.asarray(values)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample_groups(
    counts: Mapping[str, np.ndarray], resamples: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Resample each group by itself, so that its number of images stays as it is.

    Args:
        counts: For each group, ``(M, 3, N)``: intersection, prediction and label counts.
        resamples: ``R``.
        seed: Of the draws; a group's draws depend on it and on the group's name.

    Returns:
        For each group of at least two images ``(R, 3, N)`` sums; a single image says nothing of
        the variation between images.
    """
    return {
        key: bootstrap_counts(value, resamples, _seed_of(key, seed))
        for key, value in counts.items()
        if len(value) > 1
    }
