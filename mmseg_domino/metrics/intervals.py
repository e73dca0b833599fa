"""Intervals over images, by the jackknife.

An mIoU is of sums over images, so its sampling error is known from what it would be without each
image in turn. With Student's t this covers 95 to 96 % at 24 and at 100 heavy-tailed images, where
the percentile bootstrap covers 90 and 94, BCa 86 and 90; it has no random part either
(``tests/metrics/test_intervals.py`` measures it).

Shapes: ``M`` images of a group, ``N`` classes, ``...`` any leading dimensions. Figures are percent.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11 (jackknife); Welch,
The Generalization of 'Student's' Problem, Biometrika 34, 1947 (degrees of freedom of a sum).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from .confusion import miou_from_counts, relative_miou
from .groups import GroupKey

#: Low and high end, percent (of differences: points).
Interval = tuple[float, float]
#: With fewer images of a domain, its interval is itself uncertain; tables mark it.
FEW_IMAGES = 30
#: Figures of the target domains of a data set.
AVERAGES = ("mean_of_domains", "pooled", "relative_mean_of_domains", "relative_pooled")


def figures(sums: Mapping[str, np.ndarray], source: str | None = None) -> dict[str, np.ndarray]:
    """Every mIoU that a test reports, from the groups' pixel counts.

    Args:
        sums: For each group ``(..., 3, N)`` counts: intersection, prediction, label. Leading
            dimensions broadcast between the groups.
        source: Key of the source group; if it is not among them, nothing is relative.

    Returns:
        ``(...)`` percent by name: ``GROUP/mIoU`` and ``GROUP/relative_mIoU``; for each data set
        with targets ``DATASET/NAME`` for each name of :data:`AVERAGES`; ``targets/NAME``, their
        mean over the data sets; ``source/mIoU``. NaN where a source's mIoU of 0
        makes a relative one meaningless.
    """
    miou = {GroupKey(key): miou_from_counts(value) for key, value in sums.items()}
    base = miou.get(source)
    found = {f"{key}/mIoU": value for key, value in miou.items()}

    datasets: dict[str, list[GroupKey]] = {}
    for key in miou:
        if key != source:
            datasets.setdefault(key.dataset, []).append(key)
            if base is not None:
                found[f"{key}/relative_mIoU"] = relative_miou(miou[key], base)
    if base is not None:
        found["source/mIoU"] = base
    for dataset, keys in datasets.items():
        mean = sum(miou[key] for key in keys) / len(keys)
        pooled = miou_from_counts(sum(sums[key] for key in keys))
        values = [mean, pooled] + (
            [relative_miou(v, base) for v in (mean, pooled)] if base is not None else []
        )
        found |= {f"{dataset}/{name}": v for name, v in zip(AVERAGES, values, strict=False)}
    for name in AVERAGES if base is not None else AVERAGES[:2]:
        if datasets:
            parts = [found[f"{dataset}/{name}"] for dataset in datasets]
            found[f"targets/{name}"] = sum(parts) / len(parts)
    return found


@dataclass(frozen=True)
class Measured:
    """A figure, and what it would be without each image.

    Attributes:
        value: Percent, or points of a difference.
        left_out: For each group that it depends on ``(M,)``: its value without each image, images
            in the order of their paths.
    """

    value: float
    left_out: Mapping[str, np.ndarray]

    @property
    def variances(self) -> dict[str, float]:
        """What each group's images add to the variance; NaN from a single image."""
        found = {}
        for key, values in self.left_out.items():
            count = len(values)
            spread = np.sum((values - values.mean()) ** 2) if count > 1 else np.nan
            found[key] = float((count - 1) / count * spread)
        return found

    @property
    def variance(self) -> float:
        """Variance from the images; NaN if a group has a single one, which says nothing of it."""
        return float(sum(self.variances.values()))

    @property
    def freedom(self) -> float:
        """Welch and Satterthwaite's degrees of freedom of :attr:`variance`."""
        variances = self.variances
        parts = sum(v**2 / (len(self.left_out[k]) - 1) for k, v in variances.items() if v > 0)
        return sum(variances.values()) ** 2 / parts if parts else float("inf")

    def interval(self, level: float = 0.95, limits: Interval | None = None) -> Interval | None:
        """The interval over images; ``None`` where a group has too few labelled ones.

        Args:
            level: Share of such intervals that hold the truth, in (0, 1).
            limits: Smallest and largest possible value.
        """
        return student_interval(self.value, self.variance, self.freedom, level, limits)

    def __sub__(self, other: "Measured") -> "Measured":
        """The paired difference; both must be of the same images."""
        return Measured(
            self.value - other.value,
            {
                key: self.left_out.get(key, self.value) - other.left_out.get(key, other.value)
                for key in {**self.left_out, **other.left_out}
            },
        )


def student_interval(
    value: float,
    variance: float,
    freedom: float,
    level: float = 0.95,
    limits: Interval | None = None,
) -> Interval | None:
    """``value`` plus or minus Student's t times the root of its variance; ``None`` for NaN."""
    # Beyond a million degrees the distribution is normal to all digits, and inf is no argument.
    reach = stdtrit(min(freedom, 1e6), 0.5 + level / 2) * np.sqrt(variance)
    if not np.isfinite(value + reach):
        return None
    low, high = limits or (-np.inf, np.inf)
    return float(max(low, value - reach)), float(min(high, value + reach))


def average(parts: Sequence[Measured]) -> Measured:
    """The mean of figures of the same images, such as those of several seeds."""
    total = len(parts)
    keys = dict.fromkeys(key for part in parts for key in part.left_out)
    return Measured(
        sum(part.value for part in parts) / total,
        {key: sum(p.left_out.get(key, p.value) for p in parts) / total for key in keys},
    )


def measure(counts: Mapping[str, np.ndarray], source: str | None = None) -> dict[str, Measured]:
    """The figures of a test with their dependence on each image.

    Args:
        counts: For each group ``(M, 3, N)``: intersection, prediction, label, an image a row.
        source: Key of the source group.

    Returns:
        As :func:`figures`.
    """
    totals = {key: np.asarray(c, dtype=np.int64).sum(0) for key, c in counts.items()}
    whole = figures(totals, source)
    left_out: dict[str, dict[str, np.ndarray]] = {name: {} for name in whole}
    for key, images in counts.items():
        without = figures({**totals, key: totals[key] - images}, source)
        for name, values in without.items():
            if np.ndim(values):  # else it does not depend on this group
                left_out[name][key] = values
    return {name: Measured(float(value), left_out[name]) for name, value in whole.items()}
