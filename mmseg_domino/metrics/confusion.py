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
    """Intersection over union, percent, from the ``(..., N)`` pixels of each class that are right,
    predicted, and true."""
    intersection = np.asarray(intersection)
    return _percent(intersection, np.asarray(prediction) + np.asarray(label) - intersection)


def counts_of(confusion: np.ndarray) -> np.ndarray:
    """Intersection, prediction and label pixels ``(..., 3, N)`` of ``(..., N, N)`` counts, rows
    truth, columns prediction."""
    confusion = np.asarray(confusion)
    true = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([true, confusion.sum(-2), confusion.sum(-1)], axis=-2)


def miou_from_counts(counts: np.ndarray) -> np.ndarray:
    """mIoU ``(...)``, percent, of counts ``(..., 3, N)`` as :func:`counts_of` gives them."""
    return mean_over_classes(iou_from_counts(*np.moveaxis(np.asarray(counts), -2, 0)))


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union ``(..., N)``, percent, of counts ``(..., N, N)``, rows truth."""
    return iou_from_counts(*np.moveaxis(counts_of(confusion), -2, 0))


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of each class's pixels that were predicted so: ``(..., N)`` percent, NaN for none."""
    confusion = np.asarray(confusion)
    return _percent(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of all pixels that were predicted right: ``(...)`` percent, NaN without pixels."""
    confusion = np.asarray(confusion)
    return _percent(np.trace(confusion, axis1=-2, axis2=-1), np.asarray(confusion.sum((-2, -1))))


def mean_over_classes(values: np.ndarray, classes: Sequence[int] | None = None) -> np.ndarray:
    """Mean ``(...)`` over the classes, or those of the indices, that are there (are not NaN)."""
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
