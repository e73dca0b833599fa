"""``results.json`` and ``per_image_matches.safetensors`` of a detector's test.

Every figure is computed from the precisions when it is read. A file that was edited, damaged or
belongs to another run is refused by its checksum.
"""

import os
from pathlib import Path

import numpy as np

from .average_precision import Matches
from .detection import KINDS, DetectionGroup, DetectionResults, all_detection_figures
from .groups import GroupKey
from .model import as_palette
from .stored import (
    plain,
    read_arrays,
    read_json,
    read_results,
    refusing,
    results_to_json,
    stated_intervals,
    write_arrays,
    write_json,
)

DETECTION_FORMAT = "mmseg_domino.detection_results/1"
MATCHES_FILE = "per_image_matches.safetensors"
_PARTS = ("images", "labels", "scores", "matched", "ignored", "positives")


def write_detection_results(results: DetectionResults, path: str | os.PathLike) -> None:
    """Write ``results.json`` to ``path`` and ``per_image_matches.safetensors`` beside it."""
    path = Path(path)
    arrays = {
        f"{i}/{kind}/{part}": getattr(found, part)
        for i, key in enumerate(results.groups)
        for kind, found in results.matches[key].items()
        for part in _PARTS
    }
    header = {"groups": list(results.groups), "images": [*map(list, results.images.values())]}
    checksum = write_arrays(path.with_name(MATCHES_FILE), arrays, header)
    groups = {
        key: {
            "objects": group.objects.tolist(),
            "precision": {kind: plain(values) for kind, values in group.precision.items()},
        }
        for key, group in results.groups.items()
    }
    kinds = list(results.kinds)
    write_json(path, results_to_json(results, DETECTION_FORMAT, groups, checksum, kinds=kinds))


def _load_matches(path: Path, sha256: str | None, kinds: tuple[str, ...]) -> tuple[dict, dict]:
    stored = read_arrays(path, sha256)
    if stored is None:
        return {}, {}
    arrays, header = stored
    keys = list(map(GroupKey, header["groups"]))
    matches = {
        key: {
            kind: Matches(**{part: arrays[f"{i}/{kind}/{part}"] for part in _PARTS})
            for kind in kinds
        }
        for i, key in enumerate(keys)
    }
    return dict(zip(keys, map(tuple, header["images"]), strict=True)), matches


def load_detection_results(path: str | os.PathLike) -> DetectionResults:
    """Read what a detector's test wrote into a work folder.

    Args:
        path: ``results.json``, or the work folder that holds it.

    Raises:
        FileNotFoundError: If there is none.
        ResultsError: If it is damaged, of another format or another test.
    """
    file, data = read_results(path, DETECTION_FORMAT)
    with refusing(file):
        kinds = tuple(kind for kind in KINDS if kind in data["kinds"])
        checksum = data["per_image_sha256"]
        images, matches = _load_matches(file.with_name(MATCHES_FILE), checksum, kinds)
        groups = {
            GroupKey(key): DetectionGroup(
                GroupKey(key),
                int(given["num_images"]),
                np.array(given["objects"], np.int64),
                {kind: np.array(given["precision"][kind], np.float64) for kind in kinds},
            )
            for key, given in data["groups"].items()
        }
        source = data["source"] and GroupKey(data["source"])
        return DetectionResults(
            classes=tuple(data["classes"]),
            palette=as_palette(data["palette"]),
            source=source,
            kinds=kinds,
            groups=groups,
            figures=stated_intervals(data, all_detection_figures(groups, source)),
            images=images,
            matches=matches,
            run=dict(data["run"]),
            path=file,
        )


def is_detection(path: str | os.PathLike) -> bool:
    """Whether the results of a work folder are a detector's.

    Raises:
        FileNotFoundError: If there are none.
        ResultsError: If they are no JSON.
    """
    data = read_json(path)[1]
    return isinstance(data, dict) and data.get("format") == DETECTION_FORMAT
