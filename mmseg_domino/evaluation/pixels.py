"""Counting an image's pixels, on the device of the prediction.

Shapes: ``N`` classes, ``H W`` pixels, ``F`` fine bins of the confidence.
"""

import torch
from torch import Tensor

from ..metrics.calibration import FINE_BINS, SCALE, SCALE_BITS

#: So many logits are taken at a time on a CPU: they and what is made of them stay in its cache.
_CACHED = 1 << 21


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


def predicted_probability(logits: Tensor, prediction: Tensor) -> Tensor:
    """Softmax probability of the predicted class.

    Args:
        logits: ``(N, H, W)``.
        prediction: ``(H, W)`` integers, 0 to ``N`` - 1.

    Returns:
        ``(H, W)`` float32 ratios.

    Raises:
        ValueError: If the prediction is not everywhere a class of the largest logit, or the values
            are no logits: nowhere below 0, as probabilities and the scores of mask heads are.
    """
    classes, height, width = logits.shape
    prediction = prediction.to(logits.device).long()
    probability = torch.empty((height, width), device=logits.device)
    if logits.numel() and bool(logits.amin() >= 0):
        raise ValueError(
            "the scores of an image are nowhere below 0, so they are no logits, and their softmax "
            "is no probability: those of mask heads (Mask2Former, EoMT) are sums over masks. Leave "
            "calibration away"
        )
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
