"""What several seeds and many images say: intervals, and differences between conditions.

Shapes: ``M`` images of a domain, ``N`` classes, ``R`` resamples, ``S`` seeds. Figures are percent,
differences points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..metrics import bootstrap_miou, resample_groups
from ..reporting import PerImage, ResultsError, RunResults

__all__ = [
    "FIGURES",
    "RULE",
    "Contrast",
    "average_figures",
    "check_same_images",
    "contrast",
    "resampled_figures",
    "verdict",
]

#: Figures of the target domains of a data set, as ``summary`` of ``results.json`` names them.
FIGURES = ("mean_of_domains", "pooled", "relative_mean_of_domains", "relative_pooled")

#: Seeds below which no verdict is given.
LEAST_SEEDS = 3

RULE = (
    "A and B are trained with the same seeds and tested on the same images. d is the mean over the "
    "seeds of the difference A - B. Its variance is that between the seeds' differences, divided "
    "by their number, plus that of d over 1,000 resamples of the images (the same images for both, "
    "by domain). The 95 % interval is d plus or minus Student's t times the root of it, with "
    f"Welch and Satterthwaite's degrees of freedom. With {LEAST_SEEDS} seeds or more, the claim "
    "'A is better than B' holds here if the whole interval lies above 0, does not hold here if it "
    "lies below 0, and cannot be told at this size otherwise."
)


def average_figures(sums: Mapping[str, np.ndarray], source: str | None) -> dict[str, np.ndarray]:
    """Both averages over the target domains of each data set, and both relative to the source.

    Args:
        sums: For each group (``dataset/domain``) ``(R, 3, N)`` pixel counts: intersection,
            prediction, label.
        source: Key of the source group, or ``None``.

    Returns:
        ``(R,)`` by ``"source"`` and ``"DATASET/FIGURE"``; see :data:`FIGURES`. Without a source
        nothing is relative.
    """
    figures = {}
    base = None
    if source is not None and source in sums:
        figures["source"] = bootstrap_miou(sums[source])
        base = np.where(figures["source"] > 0, figures["source"], np.nan)
    datasets: dict[str, list[np.ndarray]] = {}
    for key, value in sums.items():
        if key != source:
            datasets.setdefault(key.rsplit("/", 1)[0], []).append(value)
    for name, members in datasets.items():
        mean = np.mean([bootstrap_miou(m) for m in members], axis=0)
        pooled = bootstrap_miou(np.sum(members, axis=0))
        figures |= {f"{name}/mean_of_domains": mean, f"{name}/pooled": pooled}
        if base is not None:
            figures[f"{name}/relative_mean_of_domains"] = 100 * mean / base
            figures[f"{name}/relative_pooled"] = 100 * pooled / base
    return figures


def _counts(images: PerImage) -> dict[str, np.ndarray]:
    """``(M, 3, N)`` by group, images in the order of their paths."""
    counts = np.stack([images.intersection, images.prediction, images.label], axis=1)
    groups: dict[str, list[int]] = {}
    for index, group in enumerate(images.groups):
        groups.setdefault(group, []).append(index)
    return {g: counts[sorted(rows, key=lambda i: images.images[i])] for g, rows in groups.items()}


def resampled_figures(
    images: PerImage, source: str | None, resamples: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """The figures of a run over resamples of its images, each domain by itself.

    Runs that were tested on the same images are resampled alike, so that differences between
    them, resample by resample, are paired.

    Returns:
        ``(R,)`` by ``"source"`` and ``"DATASET/FIGURE"``, as :func:`average_figures`; and by
        ``"DATASET/DOMAIN"``, the mIoU of each domain. A domain of a single image has none, nor
        has an average over it.
    """
    counts = _counts(images)
    sums = resample_groups(counts, resamples, seed)
    figures = {key: bootstrap_miou(value) for key, value in sums.items()}
    short = {key.rsplit("/", 1)[0] for key in counts if key not in sums}
    complete = {k: v for k, v in sums.items() if k == source or k.rsplit("/", 1)[0] not in short}
    return figures | average_figures(complete, source)


def run_figures(results: RunResults) -> dict[str, float]:
    """The figures that a test wrote, by the names of :func:`resampled_figures`."""
    figures = {key: group.miou for key, group in results.groups.items()}
    if results.source_group is not None:
        figures["source"] = results.source_group.miou
    for name, summary in results.summary.items():
        for figure in FIGURES:
            value = getattr(summary, figure)
            if value is not None:
                figures[f"{name}/{figure}"] = value
    return figures


def check_same_images(runs: Sequence[PerImage]) -> None:
    """Refuse to pair runs that were tested on different images.

    Raises:
        ResultsError: Names a domain that differs.
    """
    tested = [
        {g: sorted(i for i, h in zip(r.images, r.groups, strict=True) if h == g) for g in r.groups}
        for r in runs
    ]
    for other in tested[1:]:
        for group in sorted({*tested[0], *other}):
            first, second = tested[0].get(group, []), other.get(group, [])
            if first != second:
                raise ResultsError(
                    f"runs to be compared were tested on different images of {group}: "
                    f"{len(first)} and {len(second)}, of which {len({*first} & {*second})} the "
                    "same; test both on the same data, from the same folder"
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


def contrast(points: np.ndarray, draws: np.ndarray, level: float = 0.95) -> Contrast:
    """A paired difference with an interval over seeds and images; see :data:`RULE`.

    Seeds and images are independent samples, so that their variances add. With one seed, the
    interval is over the images alone.

    Args:
        points: ``(S,)`` difference of each seed.
        draws: ``(S, R)`` the same over resamples of the images.
        level: Share that the interval holds, in (0, 1).

    Raises:
        ValueError: If the shapes do not fit or there is no seed.
    """
    points, draws = np.asarray(points, np.float64), np.asarray(draws, np.float64)
    if points.ndim != 1 or not len(points) or draws.ndim != 2 or len(draws) != len(points):
        raise ValueError(
            f"expected differences (S,) and resamples (S, R), got {points.shape} and {draws.shape}"
        )
    seeds = len(points)
    image_variance = float(np.nanvar(draws.mean(axis=0), ddof=1))
    seed_variance = float(points.var(ddof=1) / seeds) if seeds > 1 else 0.0
    variance = image_variance + seed_variance
    freedom = np.inf
    if seed_variance > 0:
        freedom = variance**2 / (seed_variance**2 / (seeds - 1))
    reach = _student(level, freedom) * np.sqrt(variance)
    mean = float(points.mean())
    return Contrast(
        difference=mean,
        low=float(mean - reach),
        high=float(mean + reach),
        seeds=seeds,
        seed_error=float(np.sqrt(seed_variance)) if seeds > 1 else float("nan"),
        image_error=float(np.sqrt(image_variance)),
    )


def _student(level: float, freedom: float) -> float:
    # Beyond a million degrees the distribution is normal to all digits, and inf is no argument.
    return float(stdtrit(min(freedom, 1e6), 0.5 + level / 2))


def verdict(difference: Contrast) -> str:
    """``"holds"``, ``"does not hold"`` or ``"cannot be told"``; see :data:`RULE`."""
    if difference.seeds < LEAST_SEEDS or np.isnan(difference.low):
        return "cannot be told"
    if difference.low > 0:
        return "holds"
    return "does not hold" if difference.high < 0 else "cannot be told"
