"""Matching an image's detections with its annotations, by pycocotools.

Shapes: ``P`` detections, ``G`` annotations, ``N`` classes, ``T`` IoU thresholds, ``H W`` the image.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from ..metrics.average_precision import IOU_THRESHOLDS, ImageMatches

#: Detections of a class in an image that count, the best first.
MAX_DETECTIONS = 100
_ALL_AREAS = [0, 1e10]


def encode_truth(mask: list | Mapping, size: tuple[int, int]) -> dict:
    """An annotation's polygons, or its run lengths, as compressed run lengths.

    Args:
        mask: As in COCO's files.
        size: ``(H, W)``; what polygons have beyond it is cut off.

    Raises:
        ValueError: If it is neither, or of another size.
    """
    if isinstance(mask, Mapping):
        if tuple(mask.get("size", ())) != tuple(size):
            raise ValueError(f"a mask is of size {mask.get('size')}, the image {list(size)}")
        counts = mask["counts"]
        return coco_mask.frPyObjects(mask, *size) if isinstance(counts, list) else dict(mask)
    polygons = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
    if not polygons:
        raise ValueError("a mask has no polygon of at least three corners")
    return coco_mask.merge(coco_mask.frPyObjects(polygons, *size))


def encode_masks(masks: np.ndarray) -> list[dict]:
    """Boolean masks ``(P, H, W)`` as compressed run lengths."""
    return [coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


def match_image(
    kind: str,
    truth: Sequence[Mapping],
    labels: np.ndarray,
    scores: np.ndarray,
    shapes: Sequence,
    num_classes: int,
) -> ImageMatches:
    """Match one image's detections.

    Args:
        kind: ``"bbox"`` or ``"segm"``.
        truth: ``G`` annotations: ``label``, ``crowd``, and ``shape``: a box ``(x1, y1, x2, y2)`` in
            pixels, or run lengths.
        labels: ``(P,)`` class indices.
        scores: ``(P,)``.
        shapes: ``P`` boxes or run lengths.
        num_classes: ``N``.
    """
    judge = COCOeval(iouType=kind)
    judge.params.imgIds, judge.params.maxDets = [0], [MAX_DETECTIONS]
    order = np.argsort(-scores, kind="stable")
    for number, index in enumerate(order, 1):
        judge._dts[0, int(labels[index])].append(
            {"id": number, "score": float(scores[index]), **_shape(kind, shapes[index])}
        )
    for number, item in enumerate(truth, 1):
        judge._gts[0, item["label"]].append(
            {"id": number, "iscrowd": int(item["crowd"]), "ignore": int(item["crowd"]),
             **_shape(kind, item["shape"])}
        )  # fmt: skip
    positives = np.zeros(num_classes, np.int32)
    parts: list[tuple] = []
    for label in sorted({key[1] for key in (*judge._dts, *judge._gts)}):
        judge.ious[0, label] = judge.computeIoU(0, label)
        found = judge.evaluateImg(0, label, _ALL_AREAS, MAX_DETECTIONS)
        positives[label] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
        count = len(found["dtScores"])
        parts.append((
            np.full(count, label, np.int16),
            np.asarray(found["dtScores"], np.float64),
            _bits(found["dtMatches"], count),
            _bits(found["dtIgnore"], count),
        ))  # fmt: skip
    empty = (np.zeros(0, np.int16), np.zeros(0), np.zeros(0, np.uint16), np.zeros(0, np.uint16))
    joined = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    return ImageMatches(*joined, positives=positives)


def _shape(kind: str, shape: Sequence | Mapping) -> dict:
    if kind == "segm":
        return {"segmentation": shape, "area": float(coco_mask.area(shape))}
    x1, y1, x2, y2 = map(float, shape)
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


def _bits(flags: np.ndarray, count: int) -> np.ndarray:
    """``(T, P)`` truth values as one number a detection."""
    flags = np.asarray(flags).reshape(len(IOU_THRESHOLDS), count) != 0
    return (flags.astype(np.uint16) << np.arange(len(flags), dtype=np.uint16)[:, None]).sum(
        0, dtype=np.uint16
    )
