"""What several seeds and many images say: differences between conditions with their intervals.

Shapes: ``S`` seeds. Figures are percent, differences points.
"""

from dataclasses import dataclass

import numpy as np

from ..metrics import Measured, average, check_same_images, student_interval
from .collect import Condition

#: Seeds below which no verdict is given.
LEAST_SEEDS = 3

RULE = (
    "A and B are trained with the same seeds and tested on the same images. d is the mean over the "
    "seeds of the difference A - B. Its variance is that between the seeds' differences, divided "
    "by their number, plus that of d over the images (by the jackknife: without each image in "
    "turn, the same for both, by domain). The 95 % interval is d plus or minus Student's t times "
    "the root of it, with Welch and Satterthwaite's degrees of freedom. With "
    f"{LEAST_SEEDS} seeds or more, the claim 'A is better than B' holds here if the whole "
    "interval lies above 0, does not hold here if it lies below 0, and cannot be told at this size "
    "otherwise."
)


@dataclass(frozen=True)
class Contrast:
    """A paired difference A - B.

    Attributes:
        difference: Mean over the seeds, points.
        low: Of the 95 % interval.
        high: Of the 95 % interval.
        seeds: ``S``.
        seed_error: Standard error from the variation between seeds; NaN with one seed.
        image_error: Standard error from the images.
    """

    difference: float
    low: float
    high: float
    seeds: int
    seed_error: float
    image_error: float


def contrast(points: np.ndarray, images: Measured, level: float = 0.95) -> Contrast:
    """A paired difference with an interval over seeds and images; see :data:`RULE`.

    Seeds and images are independent samples, so that their variances add. With one seed, the
    interval is over the images alone.

    Args:
        points: ``(S,)`` difference of each seed.
        images: Their mean, with its dependence on each image.
        level: Share that the interval holds, in (0, 1).

    Raises:
        ValueError: If the shape does not fit or there is no seed.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 1 or not len(points):
        raise ValueError(f"expected differences (S,) of at least one seed, got {points.shape}")
    seeds = len(points)
    of_seeds = float(points.var(ddof=1) / seeds) if seeds > 1 else 0.0
    variance = images.variance + of_seeds
    parts = images.variance**2 / images.freedom
    if of_seeds > 0:
        parts += of_seeds**2 / (seeds - 1)
    mean = float(points.mean())
    freedom = variance**2 / parts if parts > 0 else np.inf
    low, high = student_interval(mean, variance, freedom, level) or (np.nan, np.nan)
    return Contrast(
        difference=mean,
        low=low,
        high=high,
        seeds=seeds,
        seed_error=float(np.sqrt(of_seeds)) if seeds > 1 else float("nan"),
        image_error=float(np.sqrt(images.variance)),
    )


def paired_contrasts(first: Condition, second: Condition) -> dict[str, Contrast]:
    """Differences ``first - second`` by figure, over the seeds that both have.

    Returns:
        By the names of :func:`~mmseg_domino.metrics.figures`; empty without a seed in common.

    Raises:
        ResultsError: If they were tested on different images.
    """
    sides = [
        {run.seed: run.results for run in condition.present if run.results.images is not None}
        for condition in (first, second)
    ]
    seeds = sorted(set(sides[0]) & set(sides[1]) - {None})
    if not seeds:
        return {}
    check_same_images([side[seed].images for side in sides for seed in seeds])
    pairs = [(sides[0][seed].measured, sides[1][seed].measured) for seed in seeds]
    found = {}
    for name in pairs[0][0]:
        if all(name in side for pair in pairs for side in pair):
            differences = [a[name] - b[name] for a, b in pairs]
            points = np.array([d.value for d in differences])
            found[name] = contrast(points, average(differences))
    return found


def verdict(difference: Contrast) -> str:
    """``"holds"``, ``"does not hold"`` or ``"cannot be told"``; see :data:`RULE`."""
    if difference.seeds < LEAST_SEEDS or np.isnan(difference.low):
        return "cannot be told"
    if difference.low > 0:
        return "holds"
    return "does not hold" if difference.high < 0 else "cannot be told"
