"""JSON files and lines that the package writes for itself: what was damaged is refused, not read.

Each has a ``format``, or is a line of a file that has one, and a checksum of the rest.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .io import write_text
from .paths import printable
from .text import parse_json

_CHECKSUM = "crc32"


def _checksum(content: Mapping) -> int:
    return zlib.crc32(json.dumps(content).encode())


def parse_line(text: str | bytes) -> dict[str, Any]:
    """What :func:`json_line` was given.

    Raises:
        ValueError: If the text is damaged.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"it is no JSON object but {content!r:.40}")
    if content.pop(_CHECKSUM, None) != _checksum(content):
        raise ValueError("its checksum is wrong")
    return content


def json_line(entry: Mapping[str, Any]) -> str:
    """An object as one line, with its checksum, for files that are appended to."""
    return json.dumps({**entry, _CHECKSUM: _checksum(entry)}) + "\n"


def write_json(path: str | os.PathLike, kind: str, content: Mapping[str, Any]) -> None:
    """Write an object as a file of a format, whole or not at all."""
    content = {"format": kind, **content}
    write_text(path, json.dumps({**content, _CHECKSUM: _checksum(content)}, indent=1) + "\n")


def read_json(path: str | os.PathLike, kind: str, remedy: str) -> dict[str, Any]:
    """What :func:`write_json` was given; ``remedy`` says what to do about a damaged file.

    Raises:
        ValueError: If it is empty, cut off, damaged or of another format; names the file.
    """
    try:
        content = parse_line(Path(path).read_bytes())
        found = content.pop("format", None)
        if found != kind:
            raise ValueError(f"expected the format {kind!r}, found {found!r}")
    except ValueError as error:
        raise ValueError(f"{printable(path)} is damaged ({error}); {remedy}") from error
    return content
