"""Plain results of a test, and their files.

Shapes: ``N`` classes, ``M`` images, ``K`` domains of the prompt bank. Figures are percentages (0 to
100) unless a name says ratio; NaN stands for a class that is in neither truth nor prediction.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ..utils import atomic_write
from . import (
    Calibration,
    accuracy,
    bootstrap_miou,
    calibration_from_histogram,
    class_accuracy,
    iou,
    mean_over_classes,
    percentile_interval,
    relative_miou,
    resample_groups,
)
from .counts import Counts

__all__ = [
    "FORMAT",
    "DatasetSummary",
    "EvaluationResults",
    "GroupResult",
    "ImageTable",
    "build_results",
]

FORMAT = "mmseg_domino.results/1"
PER_IMAGE_FILE = "per_image.safetensors"
Interval = tuple[float, float]


@dataclass(frozen=True)
class GroupResult:
    """One domain of one data set.

    Attributes:
        confusion: ``(N, N)`` int64, rows truth, columns prediction.
        iou: ``(N,)`` percent.
        acc: ``(N,)`` percent; NaN where the class is not in the truth.
        subsets: mIoU over named subsets of the classes, such as ``mIoU16``.
        interval: 95 % bootstrap interval of ``miou`` over images, or ``None``.
        score_names: ``K`` domains that the encoder knows, if the samples carried scores.
        mean_scores: ``(K,)`` ratios: mean of the images' scores.
    """

    dataset: str
    domain: str
    num_images: int
    confusion: np.ndarray
    iou: np.ndarray
    acc: np.ndarray
    miou: float
    macc: float
    aacc: float
    subsets: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    score_names: tuple[str, ...] = ()
    mean_scores: np.ndarray | None = None
    calibration: Calibration | None = None

    @property
    def key(self) -> str:
        return f"{self.dataset}/{self.domain}"


@dataclass(frozen=True)
class DatasetSummary:
    """The two averages over the target domains of a data set; never one for the other.

    Attributes:
        mean_of_domains: Mean of the domains' mIoUs.
        pooled: mIoU of the domains' summed confusion.
        relative_mean_of_domains: 100 * ``mean_of_domains`` / mIoU of the source, or ``None``.
        relative_pooled: Likewise.
        intervals: 95 % bootstrap intervals by the name of the figure.
    """

    mean_of_domains: float
    pooled: float
    relative_mean_of_domains: float | None = None
    relative_pooled: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageTable:
    """Pixel counts of every image, sorted by group and path.

    Attributes:
        images: ``M`` paths.
        groups: ``M`` group keys.
        counts: ``(M, 3, N)`` int32: intersection, prediction, label.
        scores: ``(M, K)`` ratios, if every image has them and of the same ``K`` domains.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    counts: np.ndarray
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class EvaluationResults:
    """All figures of one test.

    Attributes:
        palette: ``N`` RGB triples, 0 to 255.
        source: Key of the source group, or ``None`` if it was not tested.
        groups: By key, the source first, then by name.
        summary: By data set, over its groups but the source.
        overall: The figures of all images pooled: what MMSegmentation's ``IoUMetric`` says.
        targets: Mean over the target data sets of each figure of their summaries; empty without
            any.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    source: str | None
    groups: Mapping[str, GroupResult]
    summary: Mapping[str, DatasetSummary]
    overall: Mapping[str, float]
    targets: Mapping[str, float]
    table: ImageTable

    def metrics(self) -> dict[str, float]:
        """All figures in one flat dictionary, as loggers and ``save_best`` want it, percent."""
        flat = dict(self.overall)
        for key, group in self.groups.items():
            flat.update(
                {f"{key}/mIoU": group.miou, f"{key}/mAcc": group.macc, f"{key}/aAcc": group.aacc}
            )
            flat.update({f"{key}/{name}": value for name, value in group.subsets.items()})
            if group.calibration is not None:
                flat[f"{key}/ece_ratio"] = group.calibration.ece_ratio
                flat[f"{key}/aurc_ratio"] = group.calibration.aurc_ratio
        for dataset, summary in self.summary.items():
            flat.update({f"{dataset}/{name}": v for name, v in _figures(summary).items()})
        flat.update({f"targets/{name}": value for name, value in self.targets.items()})
        return {name: float(value) for name, value in flat.items()}

    def to_json(self, run: Mapping[str, Any] | None = None) -> dict:
        """The contents of ``results.json``.

        Args:
            run: What is known of the run: name, config, checkpoint, command, seed, ...
        """
        return {
            "format": FORMAT,
            "run": dict(run or {}),
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "source": self.source,
            "groups": {key: _group_to_json(group) for key, group in self.groups.items()},
            "summary": {
                name: {
                    "mean_of_domains": _number(s.mean_of_domains),
                    "pooled": _number(s.pooled),
                    "relative_mean_of_domains": s.relative_mean_of_domains,
                    "relative_pooled": s.relative_pooled,
                    **({"ci": {k: list(v) for k, v in s.intervals.items()}} if s.intervals else {}),
                }
                for name, s in self.summary.items()
            },
            "overall": {name: _number(value) for name, value in self.overall.items()},
            "targets": {name: _number(value) for name, value in self.targets.items()},
        }

    def write(self, path: str | os.PathLike, run: Mapping[str, Any] | None = None) -> None:
        """Write ``results.json`` to ``path`` and ``per_image.safetensors`` beside it.

        Args:
            path: The JSON file.
            run: What is known of the run.
        """
        path = Path(path)
        table, counts = self.table, self.table.counts
        tensors = {
            name: np.ascontiguousarray(counts[:, i])
            for i, name in enumerate(("intersection", "prediction", "label"))
        }
        if table.scores is not None:
            tensors["domain_scores"] = np.ascontiguousarray(table.scores, dtype=np.float32)
        header = {
            "images": list(table.images),
            "groups": list(table.groups),
            "classes": list(self.classes),
        }
        with atomic_write(path.with_name(PER_IMAGE_FILE)) as temporary:
            save_file(tensors, temporary, metadata={"mmseg_domino": json.dumps(header)})
        with atomic_write(path) as temporary:
            text = json.dumps(self.to_json(run), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def _number(value: float) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(v) for v in values]


def _figures(summary: DatasetSummary) -> dict[str, float]:
    names = ("mean_of_domains", "pooled", "relative_mean_of_domains", "relative_pooled")
    values = {name: getattr(summary, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _group_to_json(group: GroupResult) -> dict:
    data: dict[str, Any] = {
        "dataset": group.dataset,
        "domain": group.domain,
        "num_images": group.num_images,
        "confusion": group.confusion.tolist(),
        "iou": _numbers(group.iou),
        "acc": _numbers(group.acc),
        "mIoU": _number(group.miou),
        "mAcc": _number(group.macc),
        "aAcc": _number(group.aacc),
    }
    if group.subsets:
        data["subsets"] = {name: _number(value) for name, value in group.subsets.items()}
    if group.interval is not None:
        data["ci"] = {"mIoU": list(group.interval)}
    if group.mean_scores is not None:
        data["domain_scores"] = {
            "names": list(group.score_names),
            "mean": [float(s) for s in group.mean_scores],
        }
    if group.calibration is not None:
        c = group.calibration
        data["calibration"] = {
            "ece_ratio": c.ece_ratio,
            "aurc_ratio": c.aurc_ratio,
            "bin_count": c.bin_count.tolist(),
            "bin_confidence_ratio": _numbers(c.bin_confidence_ratio),
            "bin_accuracy_ratio": _numbers(c.bin_accuracy_ratio),
            "coverage_ratio": _numbers(c.coverage_ratio),
            "risk_ratio": _numbers(c.risk_ratio),
        }
    return data


def _table(counts: Counts, order: Sequence[str]) -> ImageTable:
    rank = {key: i for i, key in enumerate(order)}
    keys = sorted(counts.pixels, key=lambda k: (rank[k[0]], k[1]))
    scores = None
    if len(counts.scores) == len(keys) and len(set(counts.score_names.values())) == 1:
        scores = np.stack([counts.scores[key] for key in keys])
    return ImageTable(
        images=tuple(image for _, image in keys),
        groups=tuple(group for group, _ in keys),
        counts=np.stack([counts.pixels[key] for key in keys]),
        scores=scores,
    )


def _group(
    key: str,
    counts: Counts,
    images: Sequence[tuple[str, str]],
    subsets: Mapping[str, Sequence[int]],
    interval: Interval | None,
) -> GroupResult:
    confusion = counts.confusions[key]
    class_iou, class_acc = iou(confusion), class_accuracy(confusion)
    scored = [counts.scores[image] for image in images if image in counts.scores]
    complete = scored and len(scored) == len(images)
    dataset, domain = key.split("/")
    histogram = counts.histograms.get(key)
    return GroupResult(
        dataset=dataset,
        domain=domain,
        num_images=len(images),
        confusion=confusion,
        iou=class_iou,
        acc=class_acc,
        miou=float(mean_over_classes(class_iou)),
        macc=float(mean_over_classes(class_acc)),
        aacc=float(accuracy(confusion)),
        subsets={n: float(mean_over_classes(class_iou, c)) for n, c in subsets.items()},
        interval=interval,
        score_names=counts.score_names[key] if complete else (),
        mean_scores=np.mean(scored, axis=0, dtype=np.float64) if complete else None,
        calibration=None if histogram is None else calibration_from_histogram(histogram),
    )


def _summarize(
    groups: Sequence[GroupResult],
    source: GroupResult | None,
    resampled: Mapping[str, np.ndarray],
) -> DatasetSummary:
    mean = float(np.mean([g.miou for g in groups]))
    pooled = float(mean_over_classes(iou(np.sum([g.confusion for g in groups], axis=0))))
    reference = None if source is None else source.miou
    intervals = {}
    if all(g.key in resampled for g in groups):
        sums = [resampled[g.key] for g in groups]
        draws = {
            "mean_of_domains": np.mean([bootstrap_miou(s) for s in sums], axis=0),
            "pooled": bootstrap_miou(np.sum(sums, axis=0)),
        }
        if source is not None and source.key in resampled:
            # The source's images are a sample too: its mIoU varies along.
            base = bootstrap_miou(resampled[source.key])
            base = np.where(base > 0, base, np.nan)
            draws |= {f"relative_{name}": 100 * draws[name] / base for name in list(draws)}
        found = {name: percentile_interval(values) for name, values in draws.items()}
        intervals = {name: interval for name, interval in found.items() if interval}
    return DatasetSummary(
        mean_of_domains=mean,
        pooled=pooled,
        relative_mean_of_domains=relative_miou(mean, reference),
        relative_pooled=relative_miou(pooled, reference),
        intervals=intervals,
    )


def build_results(
    counts: Counts,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    source: str | None = None,
    subsets: Mapping[str, Sequence[str]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> EvaluationResults:
    """All figures of what was counted; the same for any order of images and processes.

    Args:
        counts: At least one labelled image.
        classes: ``N`` names.
        palette: ``N`` RGB triples.
        source: Key of the source group. If it was not tested, nothing is relative.
        subsets: Class names of each subset whose mean IoU is wanted beside the mIoU.
        resamples: Of the bootstrap; 0 for no intervals.
        seed: Of the bootstrap.

    Raises:
        ValueError: If there is no image, or a subset names an unknown class.
    """
    if not counts.confusions:
        raise ValueError("nothing was evaluated: there is no labelled image")
    classes = tuple(classes)
    indices = {}
    for name, members in (subsets or {}).items():
        unknown = [c for c in members if c not in classes]
        if unknown:
            raise ValueError(f"class subset {name!r} names unknown classes {unknown}")
        indices[name] = [classes.index(c) for c in members]
    order = sorted(counts.confusions, key=lambda key: (key != source, key))
    table = _table(counts, order)
    by_group = np.array(table.groups)
    resampled = {}
    if resamples:
        pixels = {key: table.counts[by_group == key] for key in order}
        resampled = resample_groups(pixels, resamples, seed)
    groups = {}
    for key in order:
        images = [(g, i) for g, i in zip(table.groups, table.images, strict=True) if g == key]
        interval = percentile_interval(bootstrap_miou(resampled[key])) if key in resampled else None
        groups[key] = _group(key, counts, images, indices, interval)
    targets: dict[str, list[GroupResult]] = {}
    for key, group in groups.items():
        if key != source:
            targets.setdefault(group.dataset, []).append(group)
    summary = {
        name: _summarize(members, groups.get(source), resampled)
        for name, members in targets.items()
    }
    pooled = np.sum([g.confusion for g in groups.values()], axis=0)
    figures = [_figures(s) for s in summary.values()]
    shared = [k for k in figures[0] if all(k in f for f in figures)] if figures else []
    return EvaluationResults(
        classes=classes,
        palette=tuple(tuple(int(c) for c in colour) for colour in palette),
        source=source if source in groups else None,
        groups=groups,
        summary=summary,
        overall={
            "mIoU": float(mean_over_classes(iou(pooled))),
            "mAcc": float(mean_over_classes(class_accuracy(pooled))),
            "aAcc": float(accuracy(pooled)),
        },
        targets={k: float(np.mean([f[k] for f in figures])) for k in shared},
        table=table,
    )
