"""Confusion matrices and what is read off them.

Shapes: ``N`` classes, ``...`` any leading dimensions. Figures are percentages (0 to
100); NaN stands for a class that occurs in neither the truth nor the prediction.
"""

from collections.abc import Sequence

import numpy as np


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(100 * part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def iou_from_counts(
    intersection: np.ndarray, prediction: np.ndarray, label: np.ndarray
) -> np.ndarray:
    """Intersection over union from pixel counts.

    Args:
        intersection: ``(..., N)`` pixels of a class that were predicted so.
        prediction: ``(..., N)`` pixels predicted as a class.
        label: ``(..., N)`` pixels of a class in the truth.

    Returns:
        ``(..., N)`` percent.
    """
    intersection = np.asarray(intersection)
    return _percent(intersection, np.asarray(prediction) + np.asarray(label) - intersection)


def counts_of(confusion: np.ndarray) -> np.ndarray:
    """Intersection, prediction and label pixels by class.

    Args:
        confusion: ``(..., N, N)`` counts, rows truth, columns prediction.

    Returns:
        ``(..., 3, N)``.
    """
    confusion = np.asarray(confusion)
    true = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([true, confusion.sum(-2), confusion.sum(-1)], axis=-2)


def miou_from_counts(counts: np.ndarray) -> np.ndarray:
    """mIoU over the classes that are in truth or prediction.

    Args:
        counts: ``(..., 3, N)`` pixels: intersection, prediction, label.

    Returns:
        ``(...)`` percent; NaN without a labelled pixel.
    """
    counts = np.asarray(counts)
    by_class = iou_from_counts(counts[..., 0, :], counts[..., 1, :], counts[..., 2, :])
    return mean_over_classes(by_class)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Args:
        confusion: ``(..., N, N)`` counts, rows truth, columns prediction.

    Returns:
        ``(..., N)`` percent.
    """
    counts = counts_of(confusion)
    return iou_from_counts(counts[..., 0, :], counts[..., 1, :], counts[..., 2, :])


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of each class's pixels that were predicted so: ``(..., N)`` percent.

    NaN where the class is not in the truth.
    """
    confusion = np.asarray(confusion)
    return _percent(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of all pixels that were predicted right: ``(...)`` percent, NaN without pixels."""
    confusion = np.asarray(confusion)
    return _percent(np.trace(confusion, axis1=-2, axis2=-1), np.asarray(confusion.sum((-2, -1))))


def mean_over_classes(values: np.ndarray, classes: Sequence[int] | None = None) -> np.ndarray:
    """Mean over the classes that are there (those that are not NaN).

    Args:
        values: ``(..., N)`` percent.
        classes: Indices of the classes to average over; ``None`` for all.

    Returns:
        ``(...)`` percent, NaN where no class is there.
    """
    values = np.asarray(values, dtype=np.float64)
    if classes is not None:
        values = values[..., list(classes)]
    there = ~np.isnan(values)
    count = there.sum(-1)
    total = np.where(there, values, 0).sum(-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def relative_miou(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The paper's measure: 100 * mIoU(target) / mIoU(source), percent.

    NaN where it means nothing: with a source whose mIoU is 0 or NaN. It also rises when the source
    falls, so it is told beside the target's mIoU, never in its place.

    Source: Domain-Aware Fine-Tuning of Foundation Models, arXiv 2407.03482.
    """
    return 100 * np.asarray(target) / np.where(np.asarray(source) > 0, source, np.nan)
