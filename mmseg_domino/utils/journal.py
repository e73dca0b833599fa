"""A journal of finished work, so that an interrupted run can go on where it stopped.

A folder of JSON-lines files, one a process. The first line of each is a header that says what the
work was; each further line is one finished image, written at once. A line that was cut off by a
kill is dropped: its image is done again.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .disk import explain_disk
from .json_files import json_line, parse_line

_SUFFIX = ".journal.jsonl"
#: What names an image in an entry.
_KEYS = {"group", "image"}


class JournalError(ValueError):
    """A journal that does not fit the run; the message names the file and what to do."""


class Journal:
    """One process's file of a journal, open for appending."""

    def __init__(self, folder: str | os.PathLike, name: str, header: Mapping[str, Any]) -> None:
        folder = Path(folder)
        self.path = folder / (name + _SUFFIX)
        with explain_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("x", encoding="utf-8")
        self.append(header)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system."""
        with explain_disk(self.path.parent):
            self._file.write(json_line(entry))
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def journal_files(folder: str | os.PathLike) -> list[Path]:
    """The files of a journal, in a fixed order; none if there is no such folder."""
    return sorted(Path(folder).glob("*" + _SUFFIX))


def _lines(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                warnings.warn(
                    f"{path}, line {number} is cut off, as by a kill: its image is done again",
                    stacklevel=2,
                )
                return
            try:
                entry = parse_line(line)
                if number > 1 and not set(entry) >= _KEYS:
                    raise ValueError("it is no entry of a journal")
            except ValueError as error:
                raise JournalError(
                    f"{path}, line {number}: damaged ({error}); delete the file, or run without "
                    "--resume to start over"
                ) from error
            yield entry


def read_journal(
    folder: str | os.PathLike, header: Mapping[str, Any] | None = None
) -> Iterator[dict]:
    """The entries of all files of a journal."""
    for path in journal_files(folder):
        lines = _lines(path)
        found = next(lines, None)
        if found is None:
            continue
        for key, value in (header or {}).items():
            if found.get(key) != value:
                raise JournalError(
                    f"{path} was written with {key} = {found.get(key)!r:.120}, this run has "
                    f"{value!r:.120}; run without --resume to start over, or resume the run it "
                    "belongs to"
                )
        yield from lines


def finished_images(folder: str | os.PathLike) -> set[tuple[str, str]]:
    """Group key and image path of every finished image of a journal."""
    return {(entry["group"], entry["image"]) for entry in read_journal(folder)}
