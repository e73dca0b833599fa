"""``results.json`` and ``per_image.safetensors`` of a segmentation model's test.

Every figure is computed from the confusions when it is read. A file that was edited, damaged or
belongs to another run is refused by its checksum, not believed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import Calibration
from .groups import GroupKey
from .model import as_palette
from .per_image import PER_IMAGE_FILE, PerImage, load_per_image, write_per_image
from .results import DomainScores, GroupResult, RunResults, all_figures
from .stored import plain, read_results, refusing, results_to_json, stated_intervals, write_json

FORMAT = "mmseg_domino.results/1"
_CURVES = (
    "bin_count", "bin_confidence_ratio", "bin_accuracy_ratio", "coverage_ratio", "risk_ratio",
)  # fmt: skip


def _group_to_json(results: RunResults, group: GroupResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "confusion": group.confusion.tolist(),
        "iou": plain(group.iou),
        "acc": plain(group.acc),
        "mAcc": plain(group.macc),
        "aAcc": plain(group.aacc),
    }
    if results.class_subsets:
        subsets = results.subset_mious(group.key)
        data["subsets"] = {name: plain(value) for name, value in subsets.items()}
    if group.domain_scores is not None:
        data["domain_scores"] = {
            "names": list(group.domain_scores.names),
            "mean": list(group.domain_scores.mean),
        }
    if group.calibration is not None:
        c = group.calibration
        data["calibration"] = {"ece_ratio": c.ece_ratio, "aurc_ratio": c.aurc_ratio}
        data["calibration"] |= {name: plain(getattr(c, name)) for name in _CURVES}
    return data


def to_json(results: RunResults, per_image_sha256: str | None = None) -> dict[str, Any]:
    """The contents of ``results.json``."""
    subsets = {name: list(members) for name, members in results.class_subsets.items()}
    return results_to_json(
        results,
        FORMAT,
        {key: _group_to_json(results, group) for key, group in results.groups.items()},
        per_image_sha256,
        overall={name: plain(value) for name, value in results.overall.items()},
        **({"class_subsets": subsets} if subsets else {}),
    )


def write_results(results: RunResults, path: str | os.PathLike) -> None:
    """Write ``results.json`` to ``path`` and ``per_image.safetensors`` beside it."""
    path = Path(path)
    checksum = write_per_image(results.images, path.with_name(PER_IMAGE_FILE))
    write_json(path, to_json(results, checksum))


def _parse_group(key: GroupKey, data: Mapping[str, Any]) -> GroupResult:
    scores, calibration = data.get("domain_scores"), data.get("calibration")
    if scores is not None:
        scores = DomainScores(tuple(scores["names"]), tuple(map(float, scores["mean"])))
    if calibration is not None:
        curves = {name: np.array(calibration[name], np.float64) for name in _CURVES}
        curves["bin_count"] = curves["bin_count"].astype(np.int64)
        calibration = Calibration(calibration["ece_ratio"], calibration["aurc_ratio"], **curves)
    confusion = np.array(data["confusion"], np.int64)
    return GroupResult(key, int(data["num_images"]), confusion, scores, calibration)


def parse_results(
    data: Mapping[str, Any], path: str | os.PathLike | None = None, images: PerImage | None = None
) -> RunResults:
    """Make the contents of a ``results.json`` into :class:`RunResults`.

    Raises:
        ResultsError: If a key is missing or no such thing.
    """
    with refusing(path or "the results"):
        groups = {GroupKey(key): _parse_group(GroupKey(key), given)
                  for key, given in data["groups"].items()}  # fmt: skip
        source = data.get("source") and GroupKey(data["source"])
        figures = all_figures(groups, source, images)
        return RunResults(
            classes=tuple(data["classes"]),
            palette=as_palette(data["palette"]),
            source=source,
            groups=groups,
            figures=figures if images is not None else stated_intervals(data, figures),
            class_subsets={k: tuple(v) for k, v in (data.get("class_subsets") or {}).items()},
            images=images,
            run=dict(data.get("run") or {}),
            path=Path(path) if path else None,
        )


def load_results(path: str | os.PathLike) -> RunResults:
    """Read a work folder's ``results.json``, and ``per_image.safetensors`` if it is there.

    Raises:
        FileNotFoundError: If there is none; the message says how to make one.
        ResultsError: If it is damaged, of another format or another test.
    """
    file, data = read_results(path, FORMAT)
    images = load_per_image(file.with_name(PER_IMAGE_FILE), data.get("per_image_sha256"))
    return parse_results(data, file, images)
