"""What the files of every test have in common: figures as JSON, arrays beside it, checksums."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..utils import atomic_write, write_text
from ..utils.text import parse_json
from .model import Figure, Results

RESULTS_FILE = "results.json"


class ResultsError(ValueError):
    """Results that cannot be used; the message names the file and what to do."""


@contextmanager
def refusing(where: object) -> Iterator[None]:
    """Whatever is wrong with what is read becomes a :class:`ResultsError` that says where."""
    try:
        yield
    except KeyError as error:
        raise ResultsError(
            f"{where}: the key {error} is missing; is this a {RESULTS_FILE} of a test?"
        ) from error
    except ResultsError as error:
        raise ResultsError(f"{where}: {error}") from error
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise ResultsError(f"{where}: not what a test writes ({error})") from error


def plain(values: np.ndarray | float) -> list | float | None:
    """Figures as JSON has them: NaN is null."""
    return np.where(np.isnan(values), None, values).tolist()


def nested(figures: Mapping[str, Figure], prefix: str) -> dict[str, Any]:
    """The figures below a prefix as JSON, with their intervals under ``ci``."""
    parts = [(name.rpartition("/"), figure) for name, figure in figures.items()]
    mine = {name: figure for (where, _, name), figure in parts if where == prefix}
    found: dict[str, Any] = {name: plain(figure.value) for name, figure in mine.items()}
    intervals = {name: list(f.interval) for name, f in mine.items() if f.interval is not None}
    return found | ({"ci": intervals} if intervals else {})


def results_to_json(
    results: Results,
    format: str,
    groups: Mapping[str, Mapping[str, Any]],
    arrays_sha256: str | None,
    **more: Any,
) -> dict[str, Any]:
    """The contents of ``results.json``: of each group its figures and what ``groups`` adds."""
    figures = results.figures
    data = {
        "format": format,
        "run": dict(results.run),
        "classes": list(results.classes),
        "palette": [list(colour) for colour in results.palette],
        "source": results.source,
        **more,
        "groups": {
            key: {
                "dataset": group.dataset,
                "domain": group.domain,
                "num_images": group.num_images,
                **groups[key],
                **nested(figures, key),
            }
            for key, group in results.groups.items()
        },
        "summary": {name: nested(figures, name) for name in results.target_datasets},
        "targets": nested(figures, "targets"),
        "per_image_sha256": arrays_sha256,
    }
    return data | {"sha256": digest(data)}


def digest(data: Mapping[str, Any]) -> str:
    """A checksum of all but the description of the run."""
    content = {key: value for key, value in data.items() if key not in ("run", "sha256")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write ``results.json``."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


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


def read_results(path: str | os.PathLike, format: str) -> tuple[Path, dict[str, Any]]:
    """As :func:`read_json`, of a format and with the checksum that it was written with.

    Raises:
        FileNotFoundError: If there is none.
        ResultsError: If it is damaged, was edited, or is of another format.
    """
    file, data = read_json(path)
    with refusing(file):
        if data.get("format") != format:
            raise ResultsError(
                f"its format is {data.get('format')!r}, this version reads {format!r} here; test "
                "again with this version"
            )
        if data.get("sha256") != digest(data):
            raise ResultsError(
                "its checksum does not fit its contents; the file was edited, damaged, or belongs "
                "to another run; run the test again"
            )
    return file, data


def stated_intervals(data: Mapping[str, Any], figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The figures with the intervals that a file states; those of the source go by two names."""
    places = {**data["groups"], **data.get("summary", {}), "targets": data.get("targets", {})}
    places["source"] = places.get(data.get("source"), {})
    stated = {
        f"{where}/{name}": (float(low), float(high))
        for where, values in places.items()
        for name, (low, high) in values.get("ci", {}).items()
    }
    return {name: Figure(f.value, stated.get(name)) for name, f in figures.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> str:
    """Write arrays and JSON values as safetensors; return the file's SHA-256."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(arrays, metadata={"mmseg_domino": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_arrays(
    path: Path, sha256: str | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """What :func:`write_arrays` was given; ``None`` if the file is not there.

    Raises:
        ResultsError: If it is damaged or another file.
    """
    if not path.is_file():
        return None
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ResultsError(
            f"{path} is not the file that was written with the results beside it: it is damaged or "
            "of another test; run the test again"
        )
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(json.loads((file.metadata() or {})["mmseg_domino"]))
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ResultsError(f"{path}: damaged or not written by a test ({error})") from error
