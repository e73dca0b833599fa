"""Calibration and selective prediction from histograms of the confidence.

Everything is counted in whole numbers, so that sums over images and processes are exact in any
order. Shapes: ``H W`` pixels, ``F`` fine bins. Ratios are from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "FINE_BINS",
    "Calibration",
    "calibration_from_histogram",
    "confidence_histogram",
    "predicted_probability",
]

#: A multiple of the usual 15 bins, and fine enough for a smooth risk-coverage curve.
FINE_BINS = 1500
#: Confidences are summed as whole multiples of 1 / SCALE.
SCALE_BITS = 20
SCALE = 1 << SCALE_BITS
#: So many logits are taken at a time on a CPU: they and what is made of them stay in its cache.
_CACHED = 1 << 21


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


def predicted_probability(logits: Tensor, prediction: Tensor) -> Tensor:
    """Softmax probability of the predicted class.

    Args:
        logits: ``(N, H, W)``.
        prediction: ``(H, W)`` integers, 0 to ``N`` - 1.

    Returns:
        ``(H, W)`` float32 ratios.

    Raises:
        ValueError: If the prediction is not everywhere a class of the largest logit.
    """
    classes, height, width = logits.shape
    prediction = prediction.to(logits.device).long()
    probability = torch.empty((height, width), device=logits.device)
    rows = height if logits.is_cuda else max(1, _CACHED // (classes * width))
    for start in range(0, height, rows):
        part = logits[:, start : start + rows].float()
        largest = part.amax(0)
        chosen = part.gather(0, prediction[None, start : start + rows])[0]
        if not torch.equal(largest, chosen):
            raise ValueError(
                "the prediction is not the largest of its logits (with test-time augmentation "
                "they are those of one view), so calibration cannot be measured"
            )
        # 1 / sum(exp(logit - largest)): the others' probabilities are not needed.
        probability[start : start + rows] = (part - largest).exp_().sum(0).reciprocal_()
    return probability


def confidence_histogram(
    confidence: Tensor, prediction: Tensor, label: Tensor, ignore_index: int | None = 255
) -> Tensor:
    """Count an image's pixels by confidence.

    Args:
        confidence: ``(H, W)`` ratios: probability of the predicted class.
        prediction: ``(H, W)`` integers.
        label: ``(H, W)`` integers.
        ignore_index: Label of pixels that do not count.

    Returns:
        ``(3, F)`` int64 on the CPU: pixels, right pixels, and the sum of ``SCALE`` * confidence.

    Raises:
        ValueError: If a confidence is no ratio.
    """
    label = label.to(prediction.device)
    # Rounding may carry a softmax a little above 1.
    if confidence.numel() and not bool(((confidence >= 0) & (confidence <= 1 + 1e-4)).all()):
        raise ValueError("confidences must be from 0 to 1")
    scaled = (confidence.clamp(max=1).float() * SCALE).round().int()
    # Bins are open on the left, (a, b], as is usual: a confidence of 1 is in the last one.
    # SCALE * FINE_BINS is below 2**31.
    index = ((scaled * FINE_BINS + (SCALE - 1)) >> SCALE_BITS).sub_(1).clamp_(min=0)
    if ignore_index is not None:  # to a bin of their own, which costs less than taking them out
        index = torch.where(label == ignore_index, FINE_BINS, index)
    rows = FINE_BINS + 1
    joint = (index + rows * (prediction == label)).flatten()
    wrong, right = torch.bincount(joint, minlength=2 * rows).view(2, rows)
    total = torch.bincount(index.flatten(), weights=scaled.double().flatten(), minlength=rows)
    histogram = torch.stack([wrong + right, right, total.round().long()])
    return histogram[:, :FINE_BINS].cpu()


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def calibration_from_histogram(
    histogram: np.ndarray, bins: int = 15, points: int = 101
) -> Calibration | None:
    """Calibration figures of a histogram.

    Args:
        histogram: ``(3, F)`` as :func:`confidence_histogram` makes them, summed over images.
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
