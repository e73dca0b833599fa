"""Confusion matrices and what is read off them.

Shapes: ``N`` classes, ``H W`` pixels, ``...`` any leading dimensions. Figures are percentages (0 to
100); NaN stands for a class that occurs in neither the truth nor the prediction.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "accuracy",
    "class_accuracy",
    "confusion_matrix",
    "iou",
    "iou_from_counts",
    "mean_over_classes",
    "relative_miou",
]


def confusion_matrix(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int | None = 255
) -> Tensor:
    """Count pixels by true and predicted class, on the device of the prediction.

    One joint histogram holds the classes, the ignored pixels and whatever should not be there: no
    pixel is masked out beforehand (which would take three times as long) and none disappears.

    Args:
        prediction: ``(H, W)`` integers, 0 to ``num_classes`` - 1.
        label: ``(H, W)`` integers, 0 to ``num_classes`` - 1 or ``ignore_index``.
        num_classes: ``N``.
        ignore_index: Value of pixels without a class, 0 to 255; ``None`` if there are none.

    Returns:
        ``(N, N)`` int64, rows truth, columns prediction.

    Raises:
        ValueError: If shapes differ, or a value is out of range.
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f"the prediction has shape {tuple(prediction.shape)}, the label {tuple(label.shape)}"
        )
    if prediction.is_floating_point() or label.is_floating_point():
        raise ValueError(f"expected integers, got {prediction.dtype} and {label.dtype}")
    prediction, label = prediction.long(), label.to(prediction.device).long()
    base = max(256, num_classes)
    # Beyond the base, a column would be taken for another row, and a row would lengthen the table.
    _check_range("prediction", prediction, num_classes)
    _check_range("label", label, base)
    rows = torch.bincount((label * base + prediction).flatten(), minlength=base * base)
    rows = rows.view(base, base)
    unexpected = rows.sum(1)
    unexpected[:num_classes] = 0
    if ignore_index is not None:
        if 0 <= ignore_index < num_classes:
            rows = rows.clone()
            rows[ignore_index] = 0
        else:
            unexpected[ignore_index] = 0
    if unexpected.any():
        values = unexpected.nonzero().flatten().tolist()
        raise ValueError(
            f"the label has values out of range: {', '.join(map(str, values[:8]))} "
            f"({int(unexpected.sum())} pixels); expected 0 to {num_classes - 1}"
            + ("" if ignore_index is None else f" and {ignore_index}")
        )
    return rows[:num_classes, :num_classes].contiguous()


def _check_range(name: str, values: Tensor, upper: int) -> None:
    low, high = (int(x) for x in torch.aminmax(values)) if values.numel() else (0, 0)
    if low < 0 or high >= upper:
        raise ValueError(f"the {name} has values from {low} to {high}, expected 0 to {upper - 1}")


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


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class.

    Args:
        confusion: ``(..., N, N)`` counts, rows truth, columns prediction.

    Returns:
        ``(..., N)`` percent.
    """
    confusion = np.asarray(confusion)
    true = np.diagonal(confusion, axis1=-2, axis2=-1)
    return iou_from_counts(true, confusion.sum(-2), confusion.sum(-1))


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


def relative_miou(target: float, source: float) -> float | None:
    """The headline measure: 100 * mIoU(target) / mIoU(source), percent.

    ``None`` where it means nothing: without a source, or with one whose mIoU is 0 or NaN.

    Source: Domain-Aware Fine-Tuning of Foundation Models, arXiv 2407.03482.
    """
    if source is None or target is None or not source > 0 or np.isnan(target):
        return None
    return 100 * float(target) / float(source)
