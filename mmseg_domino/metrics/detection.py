"""The results of a detector's test: one model for who measures, who writes and who reads them.

Shapes: ``N`` classes, ``M`` images, ``T`` IoU thresholds, ``B`` resamples. Figures are percentages;
NaN stands for what no object is there to measure by.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from .average_precision import (
    Matches,
    average_precision,
    group_precisions,
    mean_precisions,
    resample,
)
from .groups import GroupKey, in_order, targets_by_dataset
from .intervals import Measured, domain_figures, jackknife
from .model import Figure, Group, Results, as_palette

KINDS = ("bbox", "segm")
#: Names of a kind's figures.
PRECISIONS = ("AP", "AP50", "AP75")
#: A data set whose domains are all named so is one of corruptions by severity.
_CORRUPTION = re.compile(r"\w+_[1-5]")


@dataclass(frozen=True)
class DetectionGroup(Group):
    """One domain of one data set.

    Attributes:
        objects: ``(N,)`` annotated objects, without crowds.
        precision: ``(N, T)`` percent by kind; NaN where a class has no object.
    """

    objects: np.ndarray
    precision: Mapping[str, np.ndarray]

    @property
    def figures(self) -> dict[str, float]:
        """``bbox_AP`` and so on."""
        return {
            f"{kind}_{name}": float(value)
            for kind, precision in self.precision.items()
            for name, value in mean_precisions(precision).items()
        }


@dataclass(frozen=True, kw_only=True)
class DetectionResults(Results):
    """All figures of one test of a detector.

    Attributes:
        kinds: Which of :data:`KINDS` were measured.
        images: Paths of each group's images; empty if the file with them is not there.
        matches: By group and kind; likewise.
    """

    groups: Mapping[GroupKey, DetectionGroup]
    kinds: tuple[str, ...]
    images: Mapping[GroupKey, tuple[str, ...]] = field(default_factory=dict)
    matches: Mapping[GroupKey, Mapping[str, Matches]] = field(default_factory=dict)

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """The figures with their dependence on each image (jackknife), for comparisons."""
        return measure_detection(self.matches, self.source) if self.matches else {}

    @property
    def pooled(self) -> dict[str, float]:
        """``bbox_mAP`` and so on over all images, ratios, as mmdet's ``CocoMetric`` says them."""
        names = {"AP": "mAP", "AP50": "mAP_50", "AP75": "mAP_75"}
        found = {}
        for kind in self.kinds if self.matches else ():
            pooled = average_precision(Matches.pool([m[kind] for m in self.matches.values()]))
            for name, value in mean_precisions(pooled).items():
                found[f"{kind}_{names[name]}"] = float(value) / 100
        return found

    def metrics(self) -> dict[str, float]:
        """All figures in one flat dictionary, as loggers and ``save_best`` want it."""
        return {name: figure.value for name, figure in self.figures.items()}


def detection_figures(
    values: Mapping[str, Mapping[str, np.ndarray]], source: str | None = None
) -> dict[str, np.ndarray]:
    """Every figure that a test reports, from those of its groups (``bbox_AP`` and so on).

    They are named as by :func:`~mmseg_domino.metrics.intervals.domain_figures`, the means of data
    sets ``mean_of_domains_bbox_AP``. A data set of corruptions also has ``DATASET/mPC_bbox`` and
    ``DATASET/rPC_bbox``: the mean AP under corruption and its share of the clean one (Michaelis et
    al., arXiv 1907.07484).
    """
    groups = {GroupKey(key): found for key, found in values.items()}
    corrupted = [
        dataset
        for dataset, keys in targets_by_dataset(groups, source).items()
        if all(_CORRUPTION.fullmatch(key.domain) for key in keys)
    ]
    figures: dict[str, np.ndarray] = {}
    for name in next(iter(groups.values()), {}):
        of_name = {key: found[name] for key, found in groups.items()}
        figures |= domain_figures(of_name, source, name, f"mean_of_domains_{name}")
        if name.endswith("_AP"):
            kind = name.removesuffix("_AP")
            for dataset in corrupted:
                figures[f"{dataset}/mPC_{kind}"] = figures[f"{dataset}/mean_of_domains_{name}"]
                if source in groups:
                    relative = figures[f"{dataset}/relative_mean_of_domains_{name}"]
                    figures[f"{dataset}/rPC_{kind}"] = relative
    return figures


def bootstrap_intervals(
    matches: Mapping[str, Mapping[str, Matches]], source: str | None = None, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over images; none for figures of a group with a single image."""
    resampled = {}
    for key, found in matches.items():
        count = len(next(iter(found.values())).positives)
        resampled[key] = group_precisions(found, resample(key, count))
        if count < 2:
            resampled[key] = {n: np.full_like(v, np.nan) for n, v in resampled[key].items()}
    intervals = {}
    for name, values in detection_figures(resampled, source).items():
        known = values[~np.isnan(values)]
        # A class or group that resamples often miss has no interval worth the name.
        if len(known) > 0.9 * len(values):
            low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
            intervals[name] = (float(low), float(high))
    return intervals


def measure_detection(
    matches: Mapping[str, Mapping[str, Matches]], source: str | None = None
) -> dict[str, Measured]:
    """The figures with what each would be without each image; see ``metrics.measure``."""
    whole = {key: group_precisions(found) for key, found in matches.items()}
    without = {
        key: group_precisions(found, 1 - np.eye(len(next(iter(found.values())).positives)))
        for key, found in matches.items()
    }
    return jackknife(whole, without, partial(detection_figures, source=source))


def build_detection_results(
    images: Mapping[str, Sequence[str]],
    matches: Mapping[str, Mapping[str, Matches]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    source: str | None = None,
    intervals: bool = True,
    run: Mapping[str, Any] | None = None,
) -> DetectionResults:
    """All figures of what was matched; the same for any order of images and processes.

    Args:
        images: Paths of each group's images, sorted.
        matches: By group and kind, of these images.
        classes: ``N`` names.
        palette: ``N`` RGB triples.
        source: Key of the source group.
        intervals: Also compute 95 % intervals.
        run: What is known of the run.

    Raises:
        ValueError: If there is no image, or no object in any.
    """
    order = in_order(matches, source)
    if not any(m.positives.sum() for found in matches.values() for m in found.values()):
        raise ValueError(
            "nothing was evaluated: there is no image with an annotated object, or no image at all"
        )
    groups = {
        key: DetectionGroup(
            key=key,
            num_images=len(images[key]),
            objects=next(iter(matches[key].values())).positives.sum(0),
            precision={kind: average_precision(m) for kind, m in matches[key].items()},
        )
        for key in order
    }
    source = GroupKey(source) if source in groups else None
    matches = {key: matches[key] for key in order}
    found = bootstrap_intervals(matches, source) if intervals else {}
    return DetectionResults(
        classes=tuple(classes),
        palette=as_palette(palette),
        source=source,
        kinds=tuple(k for k in KINDS if k in next(iter(matches.values()))),
        groups=groups,
        figures=all_detection_figures(groups, source, found),
        images={key: tuple(images[key]) for key in order},
        matches=matches,
        run=dict(run or {}),
    )


def all_detection_figures(
    groups: Mapping[GroupKey, DetectionGroup],
    source: str | None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Figure]:
    """The figures of groups; a relative one is left out where the source's is 0."""
    values = detection_figures({key: group.figures for key, group in groups.items()}, source)
    return {
        name: Figure(float(value), (intervals or {}).get(name))
        for name, value in values.items()
        if not (np.isnan(value) and ("relative" in name or "rPC" in name))
    }
