"""Non-maximum suppression and pooling of regions.

``N`` boxes ``(x1, y1, x2, y2)`` in pixels, ``R`` regions ``(index in the batch, x1, y1, x2, y2)``;
names, orders and in-place outputs of the arguments are mmcv's.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor

from .common import check_operands, full_precision, gradients

_MAX = 0  # mmcv's pool_mode; 1 is the average
_LINEAR, _GAUSSIAN = 1, 2  # mmcv's methods of soft_nms; 0 drops boxes


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that stay, by falling score.

    Args:
        boxes: ``(N, 4)``. ``scores``: ``(N,)``.
        iou_threshold: a box goes if its IoU with a better one is above it.
        offset: 1 if a box includes its last pixel, else 0.
    """
    check_operands("nms", boxes=boxes, scores=scores)
    boxes, scores = full_precision(boxes, scores)
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Indices of the boxes that stay; their boxes and lowered scores are written to ``dets``.

    Args:
        boxes: ``(N, 4)``. ``scores``: ``(N,)``. ``dets``: ``(N, 5)``, written in place.
        method: 0 drops a box whose IoU reaches the threshold, 1 lowers its score linearly, 2
            lowers all scores by a Gaussian of width ``sigma``. Boxes under ``min_score`` go. It is
            mmcv that moves the operands to the CPU.
    """
    check_operands("soft_nms", boxes=boxes, scores=scores)
    corners, rest = (t.numpy() for t in full_precision(boxes, scores))
    low, high = np.ascontiguousarray(corners[:, :2].T), np.ascontiguousarray(corners[:, 2:].T)
    area, index = (high - low + offset).prod(0), np.arange(len(rest))
    chosen, lowered = [], []
    while len(index):
        best = rest.argmax()
        chosen.append(index[best])
        lowered.append(rest[best])
        sides = np.minimum(high, high[:, best, None]) - np.maximum(low, low[:, best, None]) + offset
        overlap = np.maximum(sides, 0, out=sides).prod(0)
        union = area[best] + area - overlap
        iou = np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)
        if method == _GAUSSIAN:
            rest = rest * np.exp(-iou * iou / sigma)
        else:
            rest = np.where(iou < iou_threshold, rest, rest * (1 - iou) if method == _LINEAR else 0)
        kept = ~(rest < min_score)
        kept[best] = False
        low, high, area = low[:, kept], high[:, kept], area[kept]
        rest, index = rest[kept], index[kept]
    found = torch.from_numpy(np.array(chosen, dtype=np.int64))
    dets[: len(found), :4] = boxes[found]
    dets[: len(found), 4] = torch.from_numpy(np.array(lowered, dtype=corners.dtype))
    return found


def _check_regions(features: Tensor, rois: Tensor, aligned: bool) -> None:
    # On a GPU it would cost a synchronisation, and the compiled kernel checks nothing there.
    if rois.is_cuda or not len(rois):
        return
    index = rois[:, 0]
    if not ((index >= 0) & (index < len(features))).all():
        raise IndexError(
            f"roi_align: rois name images {index.min():g} to {index.max():g} of a batch of "
            f"{len(features)}"
        )
    sizes = rois[:, 3:] - rois[:, 1:3]
    if not sizes.isfinite().all() or (aligned and (sizes < 0).any()):
        bad = (~sizes.isfinite() | (sizes < 0)).any(1).nonzero()[0].item()
        raise ValueError(
            f"roi_align: roi {bad} is {rois[bad, 1:].tolist()}; expected finite x1 <= x2 and "
            "y1 <= y2"
        )


def _corners(y: Tensor, x: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Four neighbours of points: flat positions and weights, each with a leading 4."""
    inside = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    dy, dx = y - top, x - left
    position = torch.stack(
        [top * width + left, top * width + right, bottom * width + left, bottom * width + right]
    )
    weight = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx]) * inside
    return position.long(), weight


def _grid(roi: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool):
    """Rows ``(h, samples)`` and columns ``(w, samples)`` at which one region is read."""
    shift = 0.5 if aligned else 0.0
    axes = []
    for low, high, bins in ((roi[2], roi[4], size[0]), (roi[1], roi[3], size[1])):
        start = low * scale - shift
        extent = high * scale - shift - start
        if not aligned:
            extent = extent.clamp(min=1)
        samples = ratio if ratio > 0 else int((extent / bins).ceil())
        step = (torch.arange(samples, device=roi.device) + 0.5) / max(samples, 1)
        axes.append(start + (torch.arange(bins, device=roi.device)[:, None] + step) * extent / bins)
    return axes


def _maximum(features, rois, size, scale, ratio, aligned, output, argmax_y, argmax_x) -> None:
    height, width = features.shape[2:]
    for n, roi in enumerate(rois):
        rows, columns = _grid(roi, size, scale, ratio, aligned)
        y = rows[:, None, :, None].expand(-1, size[1], -1, columns.shape[1]).flatten(2)
        x = columns[None, :, None, :].expand(size[0], -1, rows.shape[1], -1).flatten(2)
        if not y.shape[2]:  # the compiled operator's start value, where a region has no extent
            output[n], argmax_y[n], argmax_x[n] = -10000, -1, -1
            continue
        position, weight = _corners(y, x, height, width)
        plane = features[int(roi[0])].flatten(1)
        values = (plane[:, position] * weight).sum(1)
        best = values.argmax(-1, keepdim=True)
        output[n] = values.gather(-1, best)[..., 0]
        argmax_y[n] = y.expand_as(values).gather(-1, best)[..., 0]
        argmax_x[n] = x.expand_as(values).gather(-1, best)[..., 0]


def _settings(
    aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned
) -> tuple[bool, tuple[tuple[int, int], float, int, bool]]:
    """Whether maxima are pooled, and the other settings, of mmcv's arguments."""
    size = aligned_height, aligned_width
    return pool_mode == _MAX, (size, spatial_scale, sampling_ratio, aligned)


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **options
) -> None:
    """Pool ``input`` ``(B, C, H, W)`` over ``rois`` ``(R, 5)`` into ``output`` ``(R, C, h, w)``.

    ``argmax_y`` and ``argmax_x`` receive, with ``pool_mode=0``, where each maximum was read.
    """
    check_operands("roi_align", input=input, rois=rois)
    maximum, settings = _settings(**options)
    _check_regions(input, rois, settings[-1])
    features, rois = full_precision(input, rois)
    if maximum:
        _maximum(features, rois, *settings, output, argmax_y, argmax_x)
    elif len(rois):
        output.copy_(torchvision.ops.roi_align(features, rois, *settings))


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, y: Tensor, x: Tensor, grad_input: Tensor, **options
) -> None:
    """Write the gradient of the features to ``grad_input`` ``(B, C, H, W)``."""
    if not len(rois):
        return
    (rois,) = full_precision(rois)
    maximum, settings = _settings(**options)
    if not maximum:

        def pool(features: Tensor) -> Tensor:
            return torchvision.ops.roi_align(features, rois, *settings)

        # Pooling is linear, so that its gradient is the same whatever the features were.
        grad_input.copy_(gradients(pool, [torch.zeros_like(grad_input)], grad_output)[0])
        return
    grad, y, x = full_precision(grad_output, y, x)
    _, channels, height, width = grad_input.shape
    position, weight = _corners(y, x, height, width)
    weight = weight * ~((y == -1) & (x == -1))
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    position = position + plane[:, :, None, None] * (height * width)
    total = torch.zeros(grad_input.numel(), dtype=grad.dtype, device=grad.device)
    total.index_add_(0, position.flatten(), (weight * grad).flatten())
    grad_input.copy_(total.view_as(grad_input))
