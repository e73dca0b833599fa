"""COCO's average precision from detections that were matched image by image.

Matching is done once. What is kept of an image is a few bytes a detection, from which the average
precision of any group and of any resample of its images follows: that of pycocotools.

Shapes: ``N`` classes, ``M`` images, ``P`` detections, ``T`` = 10 IoU thresholds, ``B`` resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: COCO's thresholds of the IoU, and the recalls at which precision is read.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
#: Resamples of a bootstrap interval.
RESAMPLES = 1000
#: Resamples that are computed at a time; more would leave the processor's cache.
_AT_ONCE = 64


@dataclass(frozen=True)
class ImageMatches:
    """The detections of one image and kind (boxes or masks), matched with the truth.

    Attributes:
        labels: ``(P,)`` int16 class indices.
        scores: ``(P,)`` float64.
        matched: ``(P,)`` uint16: bit ``t`` says that it met an object at threshold ``t``.
        ignored: ``(P,)`` uint16: likewise, that it counts neither way there (a crowd's).
        positives: ``(N,)`` int32 objects to be found.
    """

    labels: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    positives: np.ndarray


@dataclass(frozen=True)
class Matches:
    """The same of the ``M`` images of a group; ``images`` ``(P,)`` says whose a detection is."""

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    positives: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[ImageMatches]) -> "Matches":
        """Of the images of a group, in their order, which decides between equal scores."""
        counts = [len(part.labels) for part in parts]
        joined = {name: np.concatenate([getattr(part, name) for part in parts])
                  for name in ("labels", "scores", "matched", "ignored")}  # fmt: skip
        return cls(
            images=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
            positives=np.stack([part.positives for part in parts]),
            **joined,
        )

    @classmethod
    def pool(cls, groups: Sequence["Matches"]) -> "Matches":
        """Of several groups, as one."""
        first = np.cumsum([0, *(len(group.positives) for group in groups)])
        return cls(
            images=np.concatenate([g.images + n for g, n in zip(groups, first, strict=False)]),
            **{name: np.concatenate([getattr(group, name) for group in groups])
               for name in ("labels", "scores", "matched", "ignored", "positives")},
        )  # fmt: skip


def average_precision(matches: Matches, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision by class and threshold, percent.

    Args:
        matches: Of ``M`` images.
        weights: ``(B, M)``: how often each image counts, for resamples; ``None`` for once each.

    Returns:
        ``(B, N, T)``, or ``(N, T)`` without weights; NaN for a class without any object, which is
        in no mean.

    Source: pycocotools' ``COCOeval.accumulate``, areas ``all``, 100 detections an image and class.
    """
    whole = weights is None
    count, classes = matches.positives.shape
    weights = np.ones((1, count)) if whole else np.asarray(weights, dtype=np.float64)
    found = np.full((len(weights), classes, len(IOU_THRESHOLDS)), np.nan)
    for label in range(classes):
        mine = np.flatnonzero(matches.labels == label)
        mine = mine[np.argsort(-matches.scores[mine], kind="stable")]
        bits = 1 << np.arange(len(IOU_THRESHOLDS))[:, None]
        matched = (matches.matched[mine] & bits) > 0
        counted = (matches.ignored[mine] & bits) == 0
        for start in range(0, len(weights), _AT_ONCE):
            chunk = weights[start : start + _AT_ONCE]
            total = chunk @ matches.positives[:, label]
            of_detection = chunk[:, matches.images[mine]]
            for t in range(len(IOU_THRESHOLDS)):
                right, wrong = matched[t] & counted[t], ~matched[t] & counted[t]
                found[start : start + len(chunk), label, t] = _area(
                    of_detection, right, wrong, total
                )
    return found[0] if whole else found


def _area(
    weights: np.ndarray, right: np.ndarray, wrong: np.ndarray, total: np.ndarray
) -> np.ndarray:
    """Mean precision at the 101 recalls, ``(B,)`` percent.

    Recall rises, and precision is highest, only where an object is met, so it is read there.
    """
    hits = np.flatnonzero(right)
    area = np.zeros(len(weights))
    if len(hits):
        met = np.cumsum(weights[:, hits], axis=1)
        missed = np.cumsum(weights * wrong, axis=1)[:, hits]
        precision = met / (met + missed + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = met / np.where(total > 0, total, np.inf)[:, None]
        reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
        steps = np.diff(reached, axis=1, prepend=0)
        area = 100 * (envelope * steps).sum(1) / len(RECALLS)
    return np.where(total > 0, area, np.nan)


def mean_precisions(ap: np.ndarray) -> dict[str, np.ndarray]:
    """``AP``, ``AP50`` and ``AP75``: means over the classes that have objects.

    Args:
        ap: ``(..., N, T)``, as :func:`average_precision` gives it.

    Returns:
        ``(...)`` percent by name; NaN without any object.
    """
    known = ~np.isnan(ap[..., 0])
    count = np.where(known.any(-1), known.sum(-1), np.nan)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(known, values, 0).sum(-1) / count

    return {"AP": mean(ap.mean(-1)), "AP50": mean(ap[..., 0]), "AP75": mean(ap[..., 5])}


def resample(key: str, images: int, number: int = RESAMPLES) -> np.ndarray:
    """``(B, M)`` counts of images drawn with replacement; the same for a group in every run.

    So two runs on the same images are resampled together, and their difference is a paired one.
    """
    seed = np.frombuffer(key.encode(), dtype=np.uint8)
    rng = np.random.default_rng([images, *map(int, seed)])
    return rng.multinomial(images, np.full(images, 1 / images), number)


def group_precisions(
    matches: Mapping[str, Matches], weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """``bbox_AP``, ``segm_AP50``, ... of a group's matches by kind."""
    return {
        f"{kind}_{name}": value
        for kind, one in matches.items()
        for name, value in mean_precisions(average_precision(one, weights)).items()
    }
