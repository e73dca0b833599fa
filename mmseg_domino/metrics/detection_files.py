"""``results.json`` and ``per_image_matches.safetensors`` of a detector's test.

Every figure is computed again from the precisions when it is read, and these from the matches where
they are there: a file that was edited, damaged or belongs to another run is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..utils import atomic_write
from .average_precision import Matches, average_precision
from .detection import (
    KINDS,
    DetectionGroup,
    DetectionResults,
    all_detection_figures,
)
from .files import AGAIN, digest, nested, number, read_json
from .groups import GroupKey
from .per_image import ResultsError

DETECTION_FORMAT = "mmseg_domino.detection_results/1"
MATCHES_FILE = "per_image_matches.safetensors"
_PARTS = ("images", "labels", "scores", "matched", "ignored", "positives")


def detection_to_json(results: DetectionResults, matches_sha256: str | None = None) -> dict:
    """The contents of ``results.json``, in the form of segmentation's."""
    datasets = results.target_datasets
    data = {
        "format": DETECTION_FORMAT,
        "run": dict(results.run),
        "classes": list(results.classes),
        "palette": [list(colour) for colour in results.palette],
        "source": results.source,
        "kinds": list(results.kinds),
        "groups": {
            key: {
                "dataset": group.dataset,
                "domain": group.domain,
                "num_images": group.num_images,
                "objects": group.objects.tolist(),
                "precision": {
                    kind: [[number(v) for v in row] for row in values]
                    for kind, values in group.precision.items()
                },
                **nested(results.figures, key),
            }
            for key, group in results.groups.items()
        },
        "summary": {name: nested(results.figures, name) for name in datasets},
        "targets": nested(results.figures, "targets"),
        "per_image_sha256": matches_sha256,
    }
    return data | {"sha256": digest(data)}


def write_detection_results(results: DetectionResults, path: str | os.PathLike) -> None:
    """Write ``results.json`` to ``path`` and ``per_image_matches.safetensors`` beside it."""
    path = Path(path)
    checksum = _write_matches(results, path.with_name(MATCHES_FILE))
    text = json.dumps(detection_to_json(results, checksum), indent=1, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _write_matches(results: DetectionResults, path: Path) -> str:
    tensors = {
        f"{i}/{kind}/{part}": np.ascontiguousarray(getattr(found, part))
        for i, key in enumerate(results.groups)
        for kind, found in results.matches[key].items()
        for part in _PARTS
    }
    header = {"groups": list(results.groups), "images": [*map(list, results.images.values())]}
    content = save(tensors, metadata={"mmseg_domino": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _load_matches(path: Path, sha256: str | None, kinds: tuple[str, ...]) -> tuple[dict, dict]:
    if not path.is_file():
        return {}, {}
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ResultsError(f"{path} is not the file that was written with the results: {AGAIN}")
    try:
        with safe_open(path, framework="np") as reader:
            header = json.loads((reader.metadata() or {})["mmseg_domino"])
            keys = list(map(GroupKey, header["groups"]))
            matches = {
                key: {
                    kind: Matches(**{p: reader.get_tensor(f"{i}/{kind}/{p}") for p in _PARTS})
                    for kind in kinds
                }
                for i, key in enumerate(keys)
            }
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ResultsError(f"{path}: damaged or not written by a test ({error})") from error
    return dict(zip(keys, map(tuple, header["images"]), strict=True)), matches


def load_detection_results(path: str | os.PathLike) -> DetectionResults:
    """Read what a detector's test wrote into a work folder.

    Args:
        path: ``results.json``, or the work folder that holds it.

    Raises:
        FileNotFoundError: If there is none.
        ResultsError: If it is damaged, of another format, or inconsistent.
    """
    file, data = read_json(path)
    try:
        return _parse(data, file)
    except ResultsError as error:
        raise ResultsError(f"{file}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ResultsError(
            f"{file}: not what a detector's test writes ({error!r}); run the test again"
        ) from error


def _parse(data: Mapping[str, Any], file: Path) -> DetectionResults:
    if data.get("format") != DETECTION_FORMAT:
        raise ResultsError(f"its format is {data.get('format')!r}, expected {DETECTION_FORMAT!r}")
    if data["sha256"] != digest(data):
        raise ResultsError(f"its checksum does not fit its contents; {AGAIN}")
    kinds = tuple(kind for kind in KINDS if kind in data["kinds"])
    images, matches = _load_matches(file.with_name(MATCHES_FILE), data["per_image_sha256"], kinds)
    groups, intervals = {}, {}
    for text, given in data["groups"].items():
        key = GroupKey(text)
        precision = {kind: np.array(given["precision"][kind], dtype=np.float64) for kind in kinds}
        groups[key] = DetectionGroup(
            key, int(given["num_images"]), np.array(given["objects"], dtype=np.int64), precision
        )
        for kind in kinds if matches else ():
            again = average_precision(matches[key][kind])
            if not np.allclose(again, precision[kind], atol=1e-6, equal_nan=True):
                raise ResultsError(f"group '{key}': {MATCHES_FILE} gives another {kind} precision")
    places = {**data["groups"], **data["summary"], "targets": data["targets"]}
    for prefix, values in places.items():
        for name, bounds in values.get("ci", {}).items():
            intervals[f"{prefix}/{name}"] = tuple(map(float, bounds))
    source = data["source"] and GroupKey(data["source"])
    for name, bounds in list(intervals.items()):
        if source and name.startswith(f"{source}/"):  # its figures go by two names
            intervals[f"source/{name.rsplit('/', 1)[1]}"] = bounds
    return DetectionResults(
        classes=tuple(data["classes"]),
        palette=tuple(tuple(map(int, colour)) for colour in data["palette"]),
        source=source,
        kinds=kinds,
        groups=groups,
        figures=all_detection_figures(groups, source, intervals),
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
