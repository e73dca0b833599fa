"""The results of a detector's test: one model for who measures, who writes and who reads them.

Shapes: ``N`` classes, ``M`` images, ``T`` IoU thresholds, ``B`` resamples. Figures are percentages;
NaN stands for what no object is there to measure by.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .average_precision import (
    Matches,
    average_precision,
    group_precisions,
    leave_one_out,
    mean_precisions,
    resample,
)
from .confusion import relative_miou
from .groups import GroupKey
from .intervals import FEW_IMAGES, Measured
from .results import Figure

KINDS = ("bbox", "segm")
#: Names of a kind's figures.
PRECISIONS = ("AP", "AP50", "AP75")
#: A data set whose domains are all named so is one of corruptions by severity.
_CORRUPTION = re.compile(r"\w+_[1-5]")


@dataclass(frozen=True)
class DetectionGroup:
    """One domain of one data set.

    Attributes:
        objects: ``(N,)`` annotated objects, without crowds.
        precision: ``(N, T)`` percent by kind; NaN where a class has no object.
    """

    key: GroupKey
    num_images: int
    objects: np.ndarray
    precision: Mapping[str, np.ndarray]

    @property
    def dataset(self) -> str:
        return self.key.dataset

    @property
    def domain(self) -> str:
        return self.key.domain

    @property
    def few(self) -> bool:
        """Whether it has too few images for its interval to be relied on."""
        return self.num_images < FEW_IMAGES

    @property
    def figures(self) -> dict[str, float]:
        """``bbox_AP`` and so on."""
        return {
            f"{kind}_{name}": float(value)
            for kind, precision in self.precision.items()
            for name, value in mean_precisions(precision).items()
        }


@dataclass(frozen=True)
class DetectionResults:
    """All figures of one test.

    Attributes:
        classes: ``N`` names.
        palette: ``N`` RGB triples, 0 to 255.
        source: Key of the source group, or ``None`` if it was not tested.
        kinds: Which of :data:`KINDS` were measured.
        groups: By key, the source first, then by name.
        figures: By name, as :func:`detection_figures` names them.
        images: Paths of each group's images; empty if the file with them is not there.
        matches: By group and kind; likewise.
        run: What is known of the run; see ``RunResults``.
        path: The file they were read from, or ``None``.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    source: GroupKey | None
    kinds: tuple[str, ...]
    groups: Mapping[GroupKey, DetectionGroup]
    figures: Mapping[str, Figure]
    images: Mapping[GroupKey, tuple[str, ...]] = field(default_factory=dict)
    matches: Mapping[GroupKey, Mapping[str, Matches]] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def name(self) -> str:
        """The run's name, or that of its folder."""
        folder = self.path.parent.name if self.path else ""
        return str(self.run.get("name") or folder or "run")

    def named(self, name: str) -> "DetectionResults":
        """The same results under another name."""
        return replace(self, run={**self.run, "name": name})

    @property
    def targets(self) -> dict[GroupKey, DetectionGroup]:
        """The groups but the source."""
        return {key: group for key, group in self.groups.items() if key != self.source}

    @property
    def target_datasets(self) -> list[str]:
        """Names of the data sets with target groups."""
        return list(dict.fromkeys(group.dataset for group in self.targets.values()))

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
    """Every figure that a test reports, from those of its groups.

    Args:
        values: For each group ``bbox_AP`` and so on, ``(...)`` percent; leading dimensions
            broadcast between the groups.
        source: Key of the source group; if it is not among them, nothing is relative.

    Returns:
        By name: ``GROUP/bbox_AP`` and ``GROUP/relative_bbox_AP``; for each data set with targets
        ``DATASET/mean_of_domains_bbox_AP`` and ``DATASET/relative_mean_of_domains_bbox_AP``;
        ``targets/...``, their means over the data sets; ``source/bbox_AP``. A data set of
        corruptions also has ``DATASET/mPC_bbox`` and ``DATASET/rPC_bbox``: the mean AP under
        corruption and its share of the clean one (Michaelis et al., arXiv 1907.07484).
    """
    groups = {GroupKey(key): dict(found) for key, found in values.items()}
    base = groups.get(source)
    figures = {f"{key}/{name}": v for key, found in groups.items() for name, v in found.items()}
    datasets: dict[str, list[GroupKey]] = {}
    for key, found in groups.items():
        if key == source:
            continue
        datasets.setdefault(key.dataset, []).append(key)
        if base is not None:
            figures |= {
                f"{key}/relative_{name}": relative_miou(v, base[name]) for name, v in found.items()
            }
    if base is not None:
        figures |= {f"source/{name}": value for name, value in base.items()}
    names = list(next(iter(groups.values()), {}))
    for name in names:
        means = {}
        for dataset, keys in datasets.items():
            means[dataset] = sum(groups[key][name] for key in keys) / len(keys)
        if means:
            means["targets"] = sum(means.values()) / len(means)
        for where, mean in means.items():
            figures[f"{where}/mean_of_domains_{name}"] = mean
            if base is not None:
                relative = relative_miou(mean, base[name])
                figures[f"{where}/relative_mean_of_domains_{name}"] = relative
            corrupted = all(_CORRUPTION.fullmatch(k.domain) for k in datasets.get(where, [""]) if k)
            if where in datasets and corrupted and name.endswith("_AP"):
                kind = name.removesuffix("_AP")
                figures[f"{where}/mPC_{kind}"] = mean
                if base is not None:
                    figures[f"{where}/rPC_{kind}"] = relative
    return figures


def bootstrap_intervals(
    matches: Mapping[str, Mapping[str, Matches]], source: str | None = None, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals over images; none for figures of a group with a single image."""
    resampled, single = {}, set()
    for key, found in matches.items():
        count = len(next(iter(found.values())).positives)
        resampled[key] = group_precisions(found, resample(key, count))
        if count < 2:
            single.add(key)
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
    left_out: dict[str, dict[str, np.ndarray]] = {}
    for key, found in matches.items():
        count = len(next(iter(found.values())).positives)
        without = {**whole, key: group_precisions(found, leave_one_out(count))}
        for name, values in detection_figures(without, source).items():
            if np.ndim(values):  # else it does not depend on this group
                left_out.setdefault(name, {})[key] = values
    return {
        name: Measured(float(value), left_out[name])
        for name, value in detection_figures(whole, source).items()
    }


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
    order = sorted(map(GroupKey, matches), key=lambda key: (key != source, key))
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
        palette=tuple(tuple(int(c) for c in colour) for colour in palette),
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
    intervals: Mapping[str, tuple[float, float]],
) -> dict[str, Figure]:
    """The figures of groups; a relative one is left out where the source's is 0."""
    values = detection_figures({key: group.figures for key, group in groups.items()}, source)
    return {
        name: Figure(float(value), intervals.get(name))
        for name, value in values.items()
        if not (np.isnan(value) and ("relative" in name or "rPC" in name))
    }
