"""Calibration and selective prediction from histograms of the confidence.

Everything is counted in whole numbers, so that sums over images and processes are exact in any
order. Shapes: ``F`` fine bins. Ratios are from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np

#: A multiple of the usual 15 bins, and fine enough for a smooth risk-coverage curve.
FINE_BINS = 1500
#: Confidences are summed as whole multiples of 1 / SCALE.
SCALE_BITS = 20
SCALE = 1 << SCALE_BITS


@dataclass(frozen=True)
class Calibration:
    """How far a group's confidences can be trusted.

    Attributes:
        ece_ratio: Expected calibration error: mean distance of confidence and accuracy over
            equally wide bins, weighted by their pixels; optimum 0.
        aurc_ratio: Area under the risk-coverage curve; optimum 0.
        bin_count: Pixels of each bin.
        bin_confidence_ratio: Mean confidence of each bin; NaN for an empty one.
        bin_accuracy_ratio: Share of right pixels of each bin; NaN for an empty one.
        coverage_ratio: Share of pixels kept, the most confident first; ascending, ends with 1.
        risk_ratio: Share of wrong pixels among those kept.
    """

    ece_ratio: float
    aurc_ratio: float
    bin_count: np.ndarray
    bin_confidence_ratio: np.ndarray
    bin_accuracy_ratio: np.ndarray
    coverage_ratio: np.ndarray
    risk_ratio: np.ndarray


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def calibration_from_histogram(
    histogram: np.ndarray, bins: int = 15, points: int = 101
) -> Calibration | None:
    """Calibration figures of a histogram.

    Args:
        histogram: ``(3, F)`` pixels, right pixels and the sum of ``SCALE`` * confidence, over all
            images.
        bins: Number of equally wide bins of the calibration error; divides ``F``.
        points: Number of points kept of the risk-coverage curve.

    Returns:
        The figures, or ``None`` if there is no pixel.

    Raises:
        ValueError: If ``bins`` does not divide ``F``.

    Source: Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI
    2015 (calibration error); Geifman and El-Yaniv, Selective Classification for Deep Neural
    Networks, NeurIPS 2017 (risk-coverage).
    """
    if FINE_BINS % bins:
        raise ValueError(f"bins must divide {FINE_BINS}, got {bins}")
    fine = np.asarray(histogram, dtype=np.float64)
    total = fine[0].sum()
    if total == 0:
        return None
    count, right, confidence = fine.reshape(3, bins, -1).sum(-1)
    mean_confidence = _ratio(confidence / SCALE, count)
    mean_accuracy = _ratio(right, count)
    ece = np.nansum(count * np.abs(mean_confidence - mean_accuracy)) / total
    # The most confident first; bins without a pixel add no point.
    kept = fine[0, ::-1] > 0
    pixels = fine[0, ::-1][kept].cumsum()
    wrong = (fine[0] - fine[1])[::-1][kept].cumsum()
    coverage, risk = pixels / total, wrong / pixels
    # Within the first bin the risk is constant: nothing is known of its order.
    area = np.trapezoid if hasattr(np, "trapezoid") else np.trapz
    aurc = float(area(np.r_[risk[0], risk], np.r_[0, coverage]))
    grid = np.linspace(1 / (points - 1), 1, points - 1)
    return Calibration(
        ece_ratio=float(ece),
        aurc_ratio=aurc,
        bin_count=count.astype(np.int64),
        bin_confidence_ratio=mean_confidence,
        bin_accuracy_ratio=mean_accuracy,
        coverage_ratio=grid,
        risk_ratio=np.interp(grid, coverage, risk),
    )
