"""Reading what a test wrote: ``results.json`` and ``per_image.safetensors``.

Shapes: ``N`` classes, ``K`` domains of the prompt bank, ``M`` images. Figures are percentages
(0 to 100) unless a name says ratio; NaN stands for a class that is neither in the truth nor in the
prediction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

__all__ = [
    "FORMAT",
    "Calibration",
    "DomainScores",
    "Group",
    "PerImage",
    "ResultsError",
    "RunResults",
    "Summary",
    "check_same_classes",
    "load_per_image",
    "load_results",
    "parse_results",
]

FORMAT = "mmseg_domino.results/1"
RESULTS_FILE = "results.json"
PER_IMAGE_FILE = "per_image.safetensors"

#: Figures may have been rounded to two decimals when they were written.
TOLERANCE = 0.011


class ResultsError(ValueError):
    """A result file that cannot be used; the message names the file and what to do."""


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
class Calibration:
    """How far the confidences of a group can be trusted; everything a ratio from 0 to 1.

    Attributes:
        ece: Expected calibration error.
        aurc: Area under the risk-coverage curve.
        bin_confidence: Mean confidence of each bin; NaN for an empty one.
        bin_accuracy: Share of right pixels of each bin; likewise.
        coverage: Share of pixels kept, the surest first.
        risk: Share of wrong ones among them.
    """

    ece: float
    aurc: float
    bin_confidence: np.ndarray
    bin_accuracy: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray


@dataclass(frozen=True)
class Group:
    """The figures of one domain of one data set.

    Attributes:
        key: ``dataset/domain``.
        confusion: ``(N, N)`` int64 pixel counts, rows truth, columns prediction.
        iou: ``(N,)`` percent, NaN where the class is in neither truth nor prediction.
        acc: ``(N,)`` percent, likewise.
        interval: 95 % bootstrap interval of ``miou``, or ``None``.
    """

    key: str
    dataset: str
    domain: str
    num_images: int
    confusion: np.ndarray
    iou: np.ndarray
    acc: np.ndarray
    miou: float
    macc: float
    aacc: float
    interval: tuple[float, float] | None = None
    domain_scores: DomainScores | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Summary:
    """The two averages of a data set, and both relative to the source domain.

    Attributes:
        mean_of_domains: Mean of the domains' mIoUs.
        pooled: mIoU of the pooled confusion.
        relative_mean_of_domains: 100 * ``mean_of_domains`` / mIoU of the source; ``None`` without
            a source.
        relative_pooled: Likewise for ``pooled``.
        intervals: 95 % intervals by the name of the figure; may be empty.
    """

    mean_of_domains: float
    pooled: float
    relative_mean_of_domains: float | None = None
    relative_pooled: float | None = None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResults:
    """All figures of one test.

    Attributes:
        path: The file they were read from, or ``None``.
        run: ``name``, ``config``, ``checkpoint``, ``command``, ``seed``, ``created``,
            ``versions``, ``commit``; any may be missing.
        palette: ``N`` RGB triples, 0 to 255.
        source: Key of the source group, or ``None``.
    """

    path: Path | None
    run: Mapping[str, Any]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    source: str | None
    groups: Mapping[str, Group]
    summary: Mapping[str, Summary]

    @property
    def name(self) -> str:
        """The run's name, or that of its folder."""
        folder = self.path.parent.name if self.path else ""
        return str(self.run.get("name") or folder or "run")

    @property
    def source_group(self) -> Group | None:
        return self.groups.get(self.source) if self.source else None

    @property
    def targets(self) -> dict[str, Group]:
        """The groups but the source."""
        return {key: group for key, group in self.groups.items() if key != self.source}

    def relative(self, group: Group) -> float | None:
        """100 * mIoU(group) / mIoU(source), percent; ``None`` for the source or without one."""
        source = self.source_group
        if source is None or group.key == source.key or not source.miou > 0:
            return None
        return 100 * group.miou / source.miou

    @property
    def headline(self) -> tuple[str, Summary] | None:
        """The target data set of the headline figure: the first one with a relative mIoU."""
        for dataset, summary in self.summary.items():
            if summary.relative_mean_of_domains is not None:
                return dataset, summary
        return None


@dataclass(frozen=True)
class PerImage:
    """Pixel counts of each image.

    Attributes:
        images: ``M`` image paths.
        groups: ``M`` group keys.
        classes: ``N`` class names.
        intersection: ``(M, N)`` int64; pixels of a class that were predicted so.
        prediction: ``(M, N)`` int64; pixels predicted as a class.
        label: ``(M, N)`` int64; pixels of a class in the truth.
        domain_scores: ``(M, K)`` ratios, or ``None``.
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    intersection: np.ndarray
    prediction: np.ndarray
    label: np.ndarray
    domain_scores: np.ndarray | None = None

    @property
    def miou(self) -> np.ndarray:
        """``(M,)`` percent: mean IoU over the classes of the image's truth or prediction."""
        return image_miou(self.intersection, self.prediction, self.label)


def image_miou(intersection: np.ndarray, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Mean IoU of each image over the classes that are in its truth or its prediction.

    Args:
        intersection: ``(M, N)`` pixel counts.
        prediction: ``(M, N)`` pixel counts.
        label: ``(M, N)`` pixel counts.

    Returns:
        ``(M,)`` percent; NaN for an image without a labelled pixel.
    """
    intersection, prediction, label = (
        np.asarray(x, dtype=np.int64) for x in (intersection, prediction, label)
    )
    union = prediction + label - intersection
    present = union > 0
    iou = np.divide(intersection, union, out=np.zeros(union.shape), where=present)
    count = present.sum(axis=1)
    return np.divide(100 * iou.sum(axis=1), count, out=np.full(len(iou), np.nan), where=count > 0)


def _numbers(values: Sequence[float | None], where: str, length: int) -> np.ndarray:
    array = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if array.shape != (length,):
        raise ResultsError(f"{where} has {array.size} values, expected {length}")
    return array


def _iou(confusion: np.ndarray) -> np.ndarray:
    true = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - true
    with np.errstate(invalid="ignore"):
        return 100 * np.where(union > 0, true / np.maximum(union, 1), np.nan)


def _interval(ci: Mapping[str, Sequence[float]] | None, name: str) -> tuple[float, float] | None:
    bounds = (ci or {}).get(name)
    return None if bounds is None or None in bounds else (float(bounds[0]), float(bounds[1]))


def _group(key: str, data: Mapping[str, Any], num_classes: int) -> Group:
    confusion = np.asarray(data["confusion"])
    if confusion.shape != (num_classes, num_classes) or confusion.dtype.kind not in "iu":
        raise ResultsError(
            f"group '{key}': the confusion is a {confusion.dtype} array of shape "
            f"{confusion.shape}, expected whole numbers of shape ({num_classes}, {num_classes})"
        )
    if (confusion < 0).any():
        raise ResultsError(f"group '{key}': the confusion has negative counts")
    iou = _numbers(data["iou"], f"group '{key}': iou", num_classes)
    counted = _iou(confusion)
    wrong = ~np.isclose(iou, counted, rtol=0, atol=TOLERANCE, equal_nan=True)
    if wrong.any():
        first = int(wrong.nonzero()[0][0])
        raise ResultsError(
            f"group '{key}': iou of class {first} is {iou[first]:.3f}, but its confusion gives "
            f"{counted[first]:.3f}; the file was edited or is damaged, run the test again"
        )
    scores = data.get("domain_scores")
    return Group(
        key=key,
        dataset=str(data["dataset"]),
        domain=str(data["domain"]),
        num_images=int(data["num_images"]),
        confusion=confusion.astype(np.int64),
        iou=iou,
        acc=_numbers(data["acc"], f"group '{key}': acc", num_classes),
        miou=_figure(data["mIoU"]),
        macc=_figure(data["mAcc"]),
        aacc=_figure(data["aAcc"]),
        interval=_interval(data.get("ci"), "mIoU"),
        domain_scores=scores
        and DomainScores(tuple(scores["names"]), tuple(float(x) for x in scores["mean"])),
        calibration=_calibration(key, data.get("calibration")),
    )


def _calibration(key: str, data: Mapping[str, Any] | None) -> Calibration | None:
    if data is None:
        return None
    bins, points = len(data["bin_confidence_ratio"]), len(data["coverage_ratio"])
    where = f"group '{key}': calibration"
    return Calibration(
        ece=float(data["ece_ratio"]),
        aurc=float(data["aurc_ratio"]),
        bin_confidence=_numbers(data["bin_confidence_ratio"], where, bins),
        bin_accuracy=_numbers(data["bin_accuracy_ratio"], where, bins),
        coverage=_numbers(data["coverage_ratio"], where, points),
        risk=_numbers(data["risk_ratio"], where, points),
    )


def _figure(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _summary(data: Mapping[str, Any]) -> Summary:
    ci = data.get("ci") or {}
    return Summary(
        mean_of_domains=_figure(data["mean_of_domains"]),
        pooled=_figure(data["pooled"]),
        relative_mean_of_domains=data.get("relative_mean_of_domains"),
        relative_pooled=data.get("relative_pooled"),
        intervals={name: bounds for name in ci if (bounds := _interval(ci, name))},
    )


def parse_results(data: Mapping[str, Any], path: str | Path | None = None) -> RunResults:
    """Check the contents of a ``results.json`` and make them into :class:`RunResults`.

    Args:
        data: The decoded JSON.
        path: Where it came from, for messages.

    Raises:
        ResultsError: If the format is another one, a key is missing, a shape does not fit the
            class list, or the figures do not follow from the confusion.
    """
    where = str(path) if path else "the results"
    try:
        if data.get("format") != FORMAT:
            raise ResultsError(
                f"its format is {data.get('format')!r}, this version reads {FORMAT!r}; write it "
                "again with this version's domino test"
            )
        classes = tuple(data["classes"])
        palette = tuple(tuple(int(c) for c in colour) for colour in data["palette"])
        if len(palette) != len(classes):
            raise ResultsError(f"{len(palette)} palette colours for {len(classes)} classes")
        groups = {k: _group(k, v, len(classes)) for k, v in data["groups"].items()}
        if not groups:
            raise ResultsError("it has no groups: nothing was tested")
        source = data.get("source")
        if source is not None and source not in groups:
            raise ResultsError(f"its source '{source}' is not among its groups {sorted(groups)}")
        return RunResults(
            path=Path(path) if path else None,
            run=dict(data.get("run") or {}),
            classes=classes,
            palette=palette,
            source=source,
            groups=groups,
            summary={k: _summary(v) for k, v in (data.get("summary") or {}).items()},
        )
    except KeyError as error:
        raise ResultsError(
            f"{where}: the key {error} is missing; is this a results.json of domino test?"
        ) from error
    except (AttributeError, TypeError) as error:
        raise ResultsError(f"{where}: not what domino test writes ({error})") from error
    except ResultsError as error:
        raise ResultsError(f"{where}: {error}") from error


def load_results(path: str | Path) -> RunResults:
    """Read a work folder's ``results.json``.

    Args:
        path: The file, or the work folder that holds it.

    Raises:
        FileNotFoundError: If there is none; the message says how to make one.
        ResultsError: If it is damaged, of another format, or inconsistent.
    """
    path = Path(path)
    file = path if path.suffix == ".json" else path / RESULTS_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; `domino test CONFIG CHECKPOINT --work-dir "
            f"{file.parent}` writes it"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{file}: not valid JSON ({error}); run the test again") from error
    return parse_results(data, file)


def load_per_image(path: str | Path, classes: Sequence[str] | None = None) -> PerImage | None:
    """Read a work folder's ``per_image.safetensors``; ``None`` if there is none.

    Args:
        path: The file, or the work folder.
        classes: The class names it must have, if given.

    Raises:
        ResultsError: If it is damaged or of another class set.
    """
    path = Path(path)
    file = path if path.suffix == ".safetensors" else path / PER_IMAGE_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="np") as reader:
            header = json.loads((reader.metadata() or {})["mmseg_domino"])
            keys = set(reader.keys())
            counts = {
                key: reader.get_tensor(key).astype(np.int64)
                for key in ("intersection", "prediction", "label")
            }
            scores = reader.get_tensor("domain_scores") if "domain_scores" in keys else None
        result = PerImage(
            images=tuple(header["images"]),
            groups=tuple(header["groups"]),
            classes=tuple(header["classes"]),
            domain_scores=scores,
            **counts,
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise ResultsError(f"{file}: damaged or not written by domino test ({error})") from error
    shape = (len(result.images), len(result.classes))
    if len(result.groups) != shape[0] or any(c.shape != shape for c in counts.values()):
        raise ResultsError(f"{file}: its arrays do not have the shape (images, classes) = {shape}")
    if classes is not None and result.classes != tuple(classes):
        raise ResultsError(f"{file}: {_class_difference(classes, result.classes)}")
    return result


def _class_difference(expected: Sequence[str], given: Sequence[str]) -> str:
    missing = [c for c in expected if c not in given]
    extra = [c for c in given if c not in expected]
    if not missing and not extra:
        return "it has the same classes in another order; figures by class cannot be compared"
    return f"another class set: lacks {missing[:5] or 'nothing'}, adds {extra[:5] or 'nothing'}"


def check_same_classes(runs: Sequence[RunResults]) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        ResultsError: If the runs' class lists differ; names the two files.
    """
    for run in runs[1:]:
        if run.classes != runs[0].classes:
            raise ResultsError(
                f"{run.path or run.name} cannot be compared with {runs[0].path or runs[0].name}: "
                f"{_class_difference(runs[0].classes, run.classes)}. Report them apart."
            )
