"""``results.json`` and ``per_image.safetensors``: written by a test, checked when read.

Every figure is computed again from the confusions when it is read, and the counts by image must add
up to these: a file that was edited, damaged or belongs to another run is refused, not believed.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import atomic_write
from ..utils.text import parse_json
from .calibration import Calibration
from .confusion import counts_of
from .groups import GroupKey
from .per_image import PER_IMAGE_FILE, PerImage, ResultsError, load_per_image, write_per_image
from .results import DomainScores, Figure, GroupResult, RunResults, all_figures

FORMAT = "mmseg_domino.results/1"
RESULTS_FILE = "results.json"
#: Figures may have been rounded to two decimals when they were written.
TOLERANCE = 0.011
AGAIN = "the file was edited, damaged, or belongs to another run; run the test again"
_CURVES = (
    "bin_count", "bin_confidence_ratio", "bin_accuracy_ratio", "coverage_ratio", "risk_ratio",
)  # fmt: skip
#: Figures that each group has, and what a group or an average holds beside figures.
_REQUIRED = ("iou", "acc", "mAcc", "aAcc", "mIoU")
_NO_FIGURES = {"ci", "dataset", "domain", "num_images", "confusion", "domain_scores", "calibration"}


def number(value: float) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [number(v) for v in values]


def nested(figures: Mapping[str, Figure], prefix: str) -> dict[str, Any]:
    """The figures below a prefix as JSON, with their intervals under ``ci``."""
    mine = {
        n.removeprefix(f"{prefix}/"): f for n, f in figures.items() if n.startswith(prefix + "/")
    }
    mine = {name: figure for name, figure in mine.items() if "/" not in name}
    found: dict[str, Any] = {name: number(figure.value) for name, figure in mine.items()}
    intervals = {name: list(f.interval) for name, f in mine.items() if f.interval is not None}
    return found | ({"ci": intervals} if intervals else {})


def _group_to_json(results: RunResults, group: GroupResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "dataset": group.dataset,
        "domain": group.domain,
        "num_images": group.num_images,
        "confusion": group.confusion.tolist(),
        "iou": _numbers(group.iou),
        "acc": _numbers(group.acc),
        "mAcc": number(group.macc),
        "aAcc": number(group.aacc),
        **nested(results.figures, group.key),
    }
    if results.class_subsets:
        subsets = results.subset_mious(group.key)
        data["subsets"] = {name: number(value) for name, value in subsets.items()}
    if group.domain_scores is not None:
        data["domain_scores"] = {
            "names": list(group.domain_scores.names),
            "mean": list(group.domain_scores.mean),
        }
    if group.calibration is not None:
        c = group.calibration
        data["calibration"] = {"ece_ratio": c.ece_ratio, "aurc_ratio": c.aurc_ratio}
        data["calibration"] |= {name: _numbers(getattr(c, name)) for name in _CURVES}
    return data


def to_json(results: RunResults, per_image_sha256: str | None = None) -> dict[str, Any]:
    """The contents of ``results.json``."""
    subsets = {name: list(members) for name, members in results.class_subsets.items()}
    data = {
        "format": FORMAT,
        "run": dict(results.run),
        "classes": list(results.classes),
        "palette": [list(colour) for colour in results.palette],
        "source": results.source,
        **({"class_subsets": subsets} if subsets else {}),
        "groups": {key: _group_to_json(results, group) for key, group in results.groups.items()},
        "summary": {name: nested(results.figures, name) for name in results.target_datasets},
        "overall": {name: number(value) for name, value in results.overall.items()},
        "targets": nested(results.figures, "targets"),
        "per_image_sha256": per_image_sha256,
    }
    return data | {"sha256": digest(data)}


def digest(data: Mapping[str, Any]) -> str:
    """A checksum of all but the description of the run."""
    content = {key: value for key, value in data.items() if key not in ("run", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_results(results: RunResults, path: str | os.PathLike) -> None:
    """Write ``results.json`` to ``path`` and ``per_image.safetensors`` beside it."""
    path = Path(path)
    checksum = write_per_image(results.images, path.with_name(PER_IMAGE_FILE))
    data = to_json(results, checksum)
    with atomic_write(path) as temporary:
        text = json.dumps(data, indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _check(where: str, given: Any, counted: Any) -> None:
    """Refuse figures that do not follow from the confusions."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            _check(f"{where}: {name}", value, counted.get(name))
        return
    given, counted = (
        np.array([np.nan if v is None else v for v in np.atleast_1d(side)], dtype=np.float64)
        for side in (given, counted)
    )
    if given.shape != counted.shape:
        raise ResultsError(f"{where} has {given.size} values, expected {counted.size}")
    wrong = ~np.isclose(given, counted, rtol=0, atol=TOLERANCE, equal_nan=True)
    if wrong.any():
        first = int(wrong.nonzero()[0][0])
        at = f"[{first}]" if given.size > 1 else ""
        raise ResultsError(
            f"{where}{at} is {given[first]:.3f}, but the confusion gives {counted[first]:.3f}; "
            f"{AGAIN}"
        )


def _check_figures(data: Mapping[str, Any], results: RunResults) -> None:
    """Hold every figure of the file against what its confusions give."""
    expected = to_json(results)
    for key, counted in expected["groups"].items():
        given = data["groups"][key]
        names = [*_REQUIRED, *(n for n in given if n in counted and n not in _NO_FIGURES)]
        _check(f"group '{key}'", {name: given[name] for name in names}, counted)
    for name, values in (data.get("summary") or {}).items():
        given = {k: v for k, v in values.items() if k not in _NO_FIGURES}
        _check(f"summary of '{name}'", given, expected["summary"].get(name, {}))
    for name in ("targets", "overall"):
        given = {k: v for k, v in (data.get(name) or {}).items() if k not in _NO_FIGURES}
        _check(name, given, expected[name])


def _parse_group(key: GroupKey, data: Mapping[str, Any], num_classes: int) -> GroupResult:
    confusion = np.asarray(data["confusion"])
    if confusion.shape != (num_classes, num_classes) or confusion.dtype.kind not in "iu":
        raise ResultsError(
            f"group '{key}': the confusion is a {confusion.dtype} array of shape "
            f"{confusion.shape}, expected whole numbers of shape ({num_classes}, {num_classes})"
        )
    if (confusion < 0).any():
        raise ResultsError(f"group '{key}': the confusion has negative counts")
    if GroupKey.of(data["dataset"], data["domain"]) != key:
        raise ResultsError(f"group '{key}' says it is {data['dataset']}/{data['domain']}; {AGAIN}")
    scores = data.get("domain_scores")
    group = GroupResult(
        key=key,
        num_images=int(data["num_images"]),
        confusion=confusion.astype(np.int64),
        domain_scores=scores
        and DomainScores(tuple(scores["names"]), tuple(map(float, scores["mean"]))),
        calibration=_parse_calibration(key, data.get("calibration")),
    )
    if group.num_images < 1:
        raise ResultsError(f"group '{key}' has {group.num_images} images; {AGAIN}")
    return group


def _parse_calibration(key: str, data: Mapping[str, Any] | None) -> Calibration | None:
    if data is None:
        return None
    curves = {
        name: np.array([np.nan if v is None else v for v in data[name]], dtype=np.float64)
        for name in _CURVES
    }
    for first, second in (("bin_confidence_ratio", "bin_accuracy_ratio"),
                          ("bin_confidence_ratio", "bin_count"),
                          ("coverage_ratio", "risk_ratio")):  # fmt: skip
        if len(curves[first]) != len(curves[second]):
            raise ResultsError(
                f"group '{key}': calibration has {len(curves[second])} values of {second}, "
                f"expected {len(curves[first])}"
            )
    ratios = [curves[name] for name in _CURVES[1:]]
    single = [float(data["ece_ratio"]), float(data["aurc_ratio"])]
    if any(((r < 0) | (r > 1)).any() for r in [np.array(single), *ratios]):
        raise ResultsError(f"group '{key}': calibration has ratios beyond 0 to 1; {AGAIN}")
    curves["bin_count"] = curves["bin_count"].astype(np.int64)
    return Calibration(ece_ratio=single[0], aurc_ratio=single[1], **curves)


def _stated_intervals(data: Mapping[str, Any], figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Without the counts by image, the intervals are those that the file states."""
    found = dict(figures)
    places = {**(data.get("groups") or {}), **(data.get("summary") or {})}
    for prefix, values in {**places, "targets": data.get("targets") or {}}.items():
        for name, bounds in (values.get("ci") or {}).items():
            figure = found.get(f"{prefix}/{name}")
            if figure is None:
                continue
            low, high = map(float, bounds)
            if not 0 <= low <= high:
                raise ResultsError(f"{prefix}/{name}: {low} to {high} is no interval; {AGAIN}")
            found[f"{prefix}/{name}"] = Figure(figure.value, (low, high))
    return found


def _check_images(images: PerImage, groups: Mapping[GroupKey, GroupResult], classes) -> None:
    """Hold the counts by image against the confusions."""
    where = PER_IMAGE_FILE
    if images.classes != classes:
        raise ResultsError(f"{where} has {class_difference(classes, images.classes)}")
    counts = images.by_group()
    if set(counts) != set(groups):
        raise ResultsError(
            f"{where} has images of {sorted(counts)}, {RESULTS_FILE} of {sorted(groups)}: they are "
            "of different tests; run the test again"
        )
    for key, group in groups.items():
        same = np.array_equal(counts[key].sum(0), counts_of(group.confusion))
        if not same or len(counts[key]) != group.num_images:
            raise ResultsError(
                f"group '{key}': the {len(counts[key])} images of {where} do not add up to the "
                f"confusion of {group.num_images} in {RESULTS_FILE}: they are of different tests; "
                "run the test again"
            )


def class_difference(expected: Sequence[str], given: Sequence[str]) -> str:
    """How two class lists differ."""
    missing = [c for c in expected if c not in given]
    extra = [c for c in given if c not in expected]
    if not missing and not extra:
        return "the same classes in another order; figures by class cannot be compared"
    return f"another class set: lacks {missing[:5] or 'nothing'}, adds {extra[:5] or 'nothing'}"


def parse_results(
    data: Mapping[str, Any], path: str | os.PathLike | None = None, images: PerImage | None = None
) -> RunResults:
    """Check the contents of a ``results.json`` and make them into :class:`RunResults`.

    Raises:
        ResultsError: If the format is another one, a key is missing, a shape does not fit the
            class list, the figures do not follow from the confusions, or the images do not add up
            to these.
    """
    where = str(path) if path else "the results"
    try:
        return _parse(data, path, images)
    except KeyError as error:
        raise ResultsError(
            f"{where}: the key {error} is missing; is this a {RESULTS_FILE} of a test?"
        ) from error
    except ResultsError as error:
        raise ResultsError(f"{where}: {error}") from error
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise ResultsError(f"{where}: not what a test writes ({error})") from error


def _parse(data: Mapping[str, Any], path: Any, images: PerImage | None) -> RunResults:
    if str(data.get("format")).startswith("mmseg_domino.detection_results/"):
        raise ResultsError("it is a detector's; load_detection_results reads it")
    if data.get("format") != FORMAT:
        raise ResultsError(
            f"its format is {data.get('format')!r}, this version reads {FORMAT!r}; test again with "
            "this version"
        )
    classes = tuple(data["classes"])
    palette = tuple(tuple(int(c) for c in colour) for colour in data["palette"])
    if len(palette) != len(classes):
        raise ResultsError(f"{len(palette)} palette colours for {len(classes)} classes")
    if not data["groups"]:
        raise ResultsError("it has no groups: nothing was tested")
    items = data["groups"].items()
    groups = {GroupKey(k): _parse_group(GroupKey(k), v, len(classes)) for k, v in items}
    source = data.get("source")
    if source is not None and source not in groups:
        raise ResultsError(f"its source '{source}' is not among its groups {sorted(groups)}")
    if images is not None:
        _check_images(images, groups, classes)
    figures = all_figures(groups, source, images)
    results = RunResults(
        classes=classes,
        palette=palette,
        source=None if source is None else GroupKey(source),
        groups=groups,
        figures=figures if images is not None else _stated_intervals(data, figures),
        class_subsets={k: tuple(v) for k, v in (data.get("class_subsets") or {}).items()},
        images=images,
        run=dict(data.get("run") or {}),
        path=Path(path) if path else None,
    )
    _check_figures(data, results)
    if "sha256" in data and data["sha256"] != digest(data):
        raise ResultsError(f"its checksum does not fit its contents; {AGAIN}")
    return results


def read_json(path: str | os.PathLike) -> tuple[Path, Any]:
    """A work folder's ``results.json``, or the file itself, and what is in it.

    Raises:
        FileNotFoundError: If there is none; the message says how to make one.
        ResultsError: If it is no JSON.
    """
    path = Path(path)
    file = path if path.suffix == ".json" else path / RESULTS_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; `domino test CONFIG CHECKPOINT --work-dir {file.parent}` "
            "writes it"
        )
    try:
        return file, parse_json(file.read_bytes())
    except ValueError as error:
        raise ResultsError(f"{file}: not valid JSON ({error}); run the test again") from error


def load_results(path: str | os.PathLike) -> RunResults:
    """Read a work folder's ``results.json``, and ``per_image.safetensors`` if it is there.

    Raises:
        FileNotFoundError: If there is none; the message says how to make one.
        ResultsError: If it is damaged, of another format, or inconsistent.
    """
    file, data = read_json(path)
    checksum = data.get("per_image_sha256") if isinstance(data, dict) else None
    return parse_results(data, file, load_per_image(file.with_name(PER_IMAGE_FILE), checksum))
