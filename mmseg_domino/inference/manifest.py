"""The JSON file that says what an exported model is and how images reach it."""

import json
import os
from pathlib import Path

from ..utils.hashes import file_sha256
from ..utils.text import read_mapping

MANIFEST = "model.json"
#: Raised when a program that reads the file by its old meaning would go wrong.
SCHEMA = 2
_PARTS = ("schema", "format", "files", "network", "preprocessing", "inference", "classes", "domain")


class ExportedModelError(ValueError):
    """A folder holds no exported model, or not the one that its ``model.json`` describes."""


def write_manifest(folder: Path, content: dict) -> dict:
    """Write ``model.json`` with the hash of every other file of the folder; what was written."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    files.pop(MANIFEST, None)
    content = {"schema": SCHEMA, **content, "files": files}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return content


def read_manifest(folder: str | os.PathLike) -> dict:
    """What ``model.json`` says, once all files are known to be those that were exported.

    Args:
        folder: Made by ``domino export``.

    Raises:
        FileNotFoundError: If the folder holds no exported model.
        ExportedModelError: If the description is of another version or incomplete, or a file is
            missing or has changed.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no exported model (there is no {MANIFEST}); "
            "`domino export CONFIG CHECKPOINT --out FOLDER` makes one"
        )
    content = read_mapping(path)
    if content.get("schema") != SCHEMA:
        raise ExportedModelError(
            f"{path} has the schema {content.get('schema')!r} and this program reads {SCHEMA}; "
            "export the model again, or run it with the version that exported it "
            f"({content.get('versions', {}).get('mmseg_domino', 'unknown')})"
        )
    lacking = [part for part in _PARTS if part not in content]
    if lacking:
        raise ExportedModelError(f"{path} lacks {', '.join(lacking)}; export the model again")
    for name, sha256 in content["files"].items():
        _check_file(folder, name, sha256)
    return content


def _check_file(folder: Path, name: str, sha256: str) -> None:
    if Path(name).name != name:
        raise ExportedModelError(f"{folder / MANIFEST} names a file outside the folder: {name!r}")
    path = folder / name
    if not path.is_file():
        raise ExportedModelError(f"{path} is missing; copy the folder whole or export again")
    found = file_sha256(path)
    if found != sha256:
        raise ExportedModelError(
            f"{path} is not the file that was exported: its sha256 begins with {found[:12]}, that "
            f"of the exported one with {str(sha256)[:12]}. Copy the folder whole or export again."
        )
