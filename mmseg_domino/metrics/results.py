"""The results of a test: one model for who measures, who writes and who reads them.

Shapes: ``N`` classes, ``M`` images, ``K`` domains of the prompt bank. Figures are percentages (0 to
100) unless a name says ratio; NaN stands for a class that is in neither truth nor prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .calibration import Calibration, calibration_from_histogram
from .confusion import accuracy, class_accuracy, counts_of, iou, mean_over_classes
from .counts import Counts
from .groups import GroupKey, in_order
from .intervals import Measured, figures, measure
from .model import Figure, Group, Results, as_palette
from .per_image import PerImage


@dataclass(frozen=True)
class DomainScores:
    """Mean scores that the domain encoder gave to the images of a group.

    Attributes:
        names: The ``K`` domains of the prompt bank.
        mean: ``K`` ratios from 0 to 1.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class GroupResult(Group):
    """One domain of one data set; all figures follow from its confusion.

    Attributes:
        confusion: ``(N, N)`` int64 pixels, rows truth, columns prediction.
        domain_scores: If all its images carried them.
        calibration: If it was measured.
    """

    confusion: np.ndarray
    domain_scores: DomainScores | None = None
    calibration: Calibration | None = None

    @cached_property
    def iou(self) -> np.ndarray:
        """``(N,)`` percent."""
        return iou(self.confusion)

    @cached_property
    def acc(self) -> np.ndarray:
        """``(N,)`` percent; NaN where the class is not in the truth."""
        return class_accuracy(self.confusion)

    @property
    def miou(self) -> float:
        return float(mean_over_classes(self.iou))

    @property
    def macc(self) -> float:
        return float(mean_over_classes(self.acc))

    @property
    def aacc(self) -> float:
        return float(accuracy(self.confusion))


@dataclass(frozen=True, kw_only=True)
class RunResults(Results):
    """All figures of one test of segmentation.

    Attributes:
        class_subsets: Class names of each further mean.
        images: Counts by image; ``None`` if the file with them is not there.
    """

    groups: Mapping[GroupKey, GroupResult]
    class_subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: PerImage | None = None

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """The figures with their dependence on each image; empty without counts by image."""
        return {} if self.images is None else measure(self.images.by_group(), self.source)

    def miou(self, key: str) -> Figure:
        """A group's mIoU."""
        return self.figures[f"{key}/mIoU"]

    def relative(self, key: str) -> Figure | None:
        """A group's mIoU relative to the source's; ``None`` for the source or without one."""
        return self.figures.get(f"{key}/relative_mIoU")

    @property
    def headline(self) -> tuple[str, Figure, Figure | None] | None:
        """What the figure is of, the targets' mIoU, and the relative one; ``None`` without targets.

        The mean over the domains of the target data set, or over the means of several.
        """
        names = list(self.target_datasets)
        if not names:
            return None
        where = names[0] if len(names) == 1 else "targets"
        members = [group for groups in self.target_datasets.values() for group in groups]
        if len(names) > 1:
            label = f"mean over {', '.join(names)}"
        else:
            label = f"{where}, mean of domains" if len(members) > 1 else members[0].key
        relative = self.figures.get(f"{where}/relative_mean_of_domains")
        return label, self.figures[f"{where}/mean_of_domains"], relative

    @property
    def pooled_confusion(self) -> np.ndarray:
        """``(N, N)`` of all images."""
        return np.sum([group.confusion for group in self.groups.values()], axis=0)

    @property
    def overall(self) -> dict[str, float]:
        """The figures of all images pooled: what MMSegmentation's ``IoUMetric`` says."""
        pooled = self.pooled_confusion
        return {
            "mIoU": float(mean_over_classes(iou(pooled))),
            "mAcc": float(mean_over_classes(class_accuracy(pooled))),
            "aAcc": float(accuracy(pooled)),
        }

    def subset_mious(self, key: str) -> dict[str, float]:
        """A group's mean IoU over each subset of the classes."""
        values = self.groups[key].iou
        return {
            name: float(mean_over_classes(values, [self.classes.index(c) for c in members]))
            for name, members in self.class_subsets.items()
        }

    def metrics(self) -> dict[str, float]:
        """All figures in one flat dictionary, as loggers and ``save_best`` want it.

        Where source and targets were tested together, there are none of all images: a checkpoint
        chosen by them would be chosen by the targets.
        """
        mixed = self.source_group and self.targets
        flat = {f"{self.source}/mIoU": self.source_group.miou} if mixed else self.overall
        flat |= {name: figure.value for name, figure in self.figures.items()}
        for key, group in self.groups.items():
            flat |= {f"{key}/mAcc": group.macc, f"{key}/aAcc": group.aacc}
            flat |= {f"{key}/{name}": value for name, value in self.subset_mious(key).items()}
            if group.calibration is not None:
                flat[f"{key}/ece_ratio"] = group.calibration.ece_ratio
                flat[f"{key}/aurc_ratio"] = group.calibration.aurc_ratio
        return flat


def all_figures(
    groups: Mapping[GroupKey, GroupResult], source: str | None, images: PerImage | None
) -> dict[str, Figure]:
    """The groups' mIoUs and their averages, with intervals where the images are known."""
    if images is not None:
        measured = measure(images.by_group(), source)
        found = {
            name: Figure(m.value, m.interval(limits=(0, np.inf if "relative" in name else 100)))
            for name, m in measured.items()
        }
    else:
        counts = {key: counts_of(group.confusion) for key, group in groups.items()}
        found = {name: Figure(float(value)) for name, value in figures(counts, source).items()}
    # A source whose mIoU is 0 leaves nothing to be relative to.
    return {n: f for n, f in found.items() if "relative" not in n or not np.isnan(f.value)}


def _per_image(counts: Counts, order: Sequence[str], classes: tuple[str, ...]) -> PerImage:
    rank = {key: i for i, key in enumerate(order)}
    keys = sorted(counts.pixels, key=lambda k: (rank[k[0]], k[1]))
    scores = None
    if len(counts.scores) == len(keys) and len(set(counts.score_names.values())) == 1:
        scores = np.stack([counts.scores[key] for key in keys])
    return PerImage(
        images=tuple(image for _, image in keys),
        groups=tuple(GroupKey(group) for group, _ in keys),
        classes=classes,
        counts=np.stack([counts.pixels[key] for key in keys]),
        domain_scores=scores,
    )


def _group(key: GroupKey, counts: Counts, images: Sequence[str]) -> GroupResult:
    scored = [counts.scores[key, i] for i in images if (key, i) in counts.scores]
    scores = None
    if scored and len(scored) == len(images):
        mean = np.mean(scored, axis=0, dtype=np.float64)
        scores = DomainScores(tuple(counts.score_names[key]), tuple(map(float, mean)))
    histogram = counts.histograms.get(key)
    return GroupResult(
        key=key,
        num_images=len(images),
        confusion=counts.confusions[key],
        domain_scores=scores,
        calibration=None if histogram is None else calibration_from_histogram(histogram),
    )


def build_results(
    counts: Counts,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    source: str | None = None,
    class_subsets: Mapping[str, Sequence[str]] | None = None,
    intervals: bool = True,
    run: Mapping[str, Any] | None = None,
) -> RunResults:
    """All figures of what was counted; the same for any order of images and processes.

    Args:
        counts: At least one labelled image.
        classes: ``N`` names.
        palette: ``N`` RGB triples.
        source: Key of the source group. If it was not tested, nothing is relative.
        class_subsets: Class names of each subset whose mean IoU is wanted beside the mIoU.
        intervals: Also compute 95 % intervals.
        run: What is known of the run.

    Raises:
        ValueError: If there is no image, or a subset names an unknown class.
    """
    if not counts.confusions:
        raise ValueError("nothing was evaluated: there is no labelled image")
    classes = tuple(classes)
    for name, members in (class_subsets or {}).items():
        unknown = [c for c in members if c not in classes]
        if unknown:
            raise ValueError(f"class subset {name!r} names unknown classes {unknown}")
    order = in_order(counts.confusions, source)
    images = _per_image(counts, order, classes)
    groups = {key: _group(key, counts, [images.images[i] for i in images.rows[key]])
              for key in order}  # fmt: skip
    source = GroupKey(source) if source in groups else None
    return RunResults(
        classes=classes,
        palette=as_palette(palette),
        source=source,
        groups=groups,
        figures=all_figures(groups, source, images if intervals else None),
        class_subsets={name: tuple(members) for name, members in (class_subsets or {}).items()},
        images=images,
        run=dict(run or {}),
    )
