"""The generated data set on disk, written so that a kill at any point loses and repeats nothing.

    OUT/images/DOMAIN/NAME.png     kept images
    OUT/labels/DOMAIN/NAME.png     their labels: class numbers, 255 ignored
    OUT/images.jsonl               one JSON line an image, kept or rejected
    OUT/rejected/DOMAIN/NAME.png   rejected images
    OUT/synthesis.json             what the images were made with
    OUT/summary.html

``FolderDataset(data_root=OUT, domain=None)`` reads it, as does any class of MMSegmentation with
``data_prefix=dict(img_path='images', seg_map_path='labels')`` and the suffix ``.png``.

An image is done when its line is written; label and image come before it. While work goes on, each
process appends to a file of its own in ``OUT/records``; at the end they are merged.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from ..utils import TEMPORARY_PREFIX, atomic_write, resolve_below
from ..utils.disk import DiskFullError, explain_disk
from ..utils.images import write_image
from ..utils.json_files import json_line, parse_line, read_json, write_json
from ..utils.locks import FolderInUseError

FORMAT = "mmseg_domino.synthesis/1"


class OtherMakerError(ValueError):
    """A folder was begun with another model, prompt bank or settings."""


@dataclass(frozen=True)
class Record:
    """One image, as its JSON line says it.

    Attributes:
        name: Path below ``images/DOMAIN`` (kept) or ``rejected/DOMAIN``, without suffix.
        source: Name of the source image.
        domain: Domain key.
        index: Which image of this label and domain.
        seed: Of its randomness.
        status: ``'kept'`` or ``'rejected'``.
        reason: Why it was rejected.
        scores: What the gate measured.
        generator: Type of the generator; its settings are in ``synthesis.json``.
        model: Name of its model, if it has one.
        prompt: That it was made with; ``None`` if the generator reads none.
        negative_prompt: Likewise.
        parameters: What the generator drew, such as fog's visibility.
    """

    name: str
    source: str
    domain: str
    index: int
    seed: int
    status: str
    reason: str | None
    generator: str
    model: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    scores: dict = field(default_factory=dict)
    parameters: dict = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        return self.source, self.domain, self.index


class SynthesisTree:
    """Reads and writes one output folder."""

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        self.merged = self.root / "images.jsonl"
        self.header = self.root / "synthesis.json"
        self.parts = self.root / "records"

    def image_path(self, domain: str, name: str, kept: bool = True) -> Path:
        """Where an image is.

        Raises:
            OutsideNameError: If a name, which may come out of ``images.jsonl``, leads elsewhere.
        """
        return self._below("images" if kept else "rejected", domain, name)

    def label_path(self, domain: str, name: str) -> Path:
        return self._below("labels", domain, name)

    def _below(self, folder: str, domain: str, name: str) -> Path:
        place = resolve_below(self.root / folder, domain, self.merged)
        return resolve_below(place, f"{name}.png", self.merged, links="last")

    def open(self, maker: Mapping) -> None:
        """Begin, or go on with what the same maker began.

        Raises:
            OtherMakerError: If the folder was made by another; names what differs.
        """
        wanted = {"maker": json.loads(json.dumps(maker))}
        if not self.header.is_file():
            if self.root.is_dir() and any(not p.name.startswith(".") for p in self.root.iterdir()):
                raise OtherMakerError(
                    f"{self.root} is not empty and has no {self.header.name}: it was not made by "
                    "this tool. Give an empty or new folder."
                )
            write_json(self.header, FORMAT, wanted)
            return
        known = read_json(self.header, FORMAT, "give another folder, or restore the file")
        different = list(_differences(known, wanted))
        if different:
            listed = "\n".join(f"    {line}" for line in different[:12])
            raise OtherMakerError(
                f"{self.root} was begun with other settings; mixing them would make images that "
                f"nobody can tell apart:\n{listed}\nGive another folder, or the same settings."
            )

    @contextlib.contextmanager
    def claimed(self, alone: bool = False) -> Iterator[None]:
        """Within the block this process counts as working here.

        Where the file system knows no locks, nothing is checked.

        Args:
            alone: Refuse if any process works here; then clear away what a killed one left half
                written. For the first process of a run, before the others come.

        Raises:
            FolderInUseError: If another run is at work, such as processes that outlived their
                killed launcher.
        """
        with open(self.root / ".lock", "ab") as file:
            try:
                if alone:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FolderInUseError(
                    f"another run is at work in {self.root}, perhaps processes that outlived a "
                    "killed launcher. Wait for it or end it, then give the same command again."
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
            if alone:
                for left in self.root.rglob(f"{TEMPORARY_PREFIX}*"):
                    left.unlink(missing_ok=True)
            yield

    def records(self) -> dict[tuple[str, str, int], Record]:
        """All that is done, by (source, domain, index).

        A line that a kill cut off is left out, as is a kept image whose file has gone.
        """
        files = [self.merged] if self.merged.is_file() else []
        files += sorted(self.parts.glob("*.jsonl")) if self.parts.is_dir() else []
        found: dict[tuple[str, str, int], Record] = {}
        for file in files:
            for record in _read_lines(file):
                found[record.key] = record  # an image that was made again
        return {key: r for key, r in found.items() if self._is_there(r)}

    def _is_there(self, record: Record) -> bool:
        if record.status == "rejected":
            return True
        return (
            self.image_path(record.domain, record.name).is_file()
            and self.label_path(record.domain, record.name).is_file()
        )

    def writer(self, rank: int) -> "RecordWriter":
        """Where a process puts what it has done."""
        return RecordWriter(self, self.parts / f"{rank:05d}.jsonl")

    def merge(self, records: Iterable[Record] | None = None) -> list[Record]:
        """Write all records, sorted, as ``images.jsonl`` and drop the processes' files."""
        known = self.records().values() if records is None else records
        ordered = sorted(known, key=lambda record: (record.domain, record.source, record.index))
        with atomic_write(self.merged) as path, open(path, "w", encoding="utf-8") as file:
            for record in ordered:
                file.write(_line(record))
        if self.parts.is_dir():
            shutil.rmtree(self.parts)
        return ordered

    def reject(self, record: Record, reason: str) -> Record:
        """Move a kept image aside; the caller merges the changed record.

        Killed in between, the record is found without its image, and the image is made again,
        the same, and rejected again.
        """
        source = self.image_path(record.domain, record.name)
        target = self.image_path(record.domain, record.name, kept=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        self.label_path(record.domain, record.name).unlink(missing_ok=True)
        return replace(record, status="rejected", reason=reason)

    def check_disk(self, needed: int, reserve: int) -> None:
        """Refuse to go on when the disk would run full.

        Raises:
            DiskFullError: If there is not as much.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < needed + reserve:
            raise DiskFullError(
                f"{self.root} has {free / 2**30:.1f} GiB free; about {needed / 2**30:.1f} GiB are "
                f"still to be written and {reserve / 2**30:.1f} GiB shall stay free (--min-free). "
                "Make room or give another folder; what is done is kept, and the same command "
                "goes on from there."
            )


class RecordWriter:
    """Appends to one process's file of records."""

    def __init__(self, tree: SynthesisTree, path: Path) -> None:
        self.tree, self.path = tree, path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "RecordWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            whole = self.path.read_bytes()
            os.truncate(self.path, whole.rfind(b"\n") + 1)  # a line that a kill cut off
        # No buffer: what a full disk refuses must not be tried again on closing.
        self._file = open(self.path, "ab", buffering=0)
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    def write(
        self,
        record: Record,
        image: np.ndarray | None,
        label: np.ndarray | None = None,
        label_file: str | None = None,
    ) -> None:
        """Write an image and then its line.

        Args:
            record: Its line.
            image: ``(H, W, 3)`` uint8 RGB; may be missing if rejected.
            label: ``(H, W)`` uint8, needed if kept.
            label_file: A PNG file with just these values, which is linked instead of written.
        """
        kept = record.status == "kept"
        with explain_disk(self.tree.root):
            if kept:
                path = self.tree.label_path(record.domain, record.name)
                _write_label(path, label, label_file)
            if image is not None:
                path = self.tree.image_path(record.domain, record.name, kept)
                write_image(path, image, compress_level=4)
            line = memoryview(_line(record).encode())
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())


def _write_label(path: Path, label: np.ndarray, file: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if file is not None:
        path.unlink(missing_ok=True)
        try:
            # Costs nothing, and outlives the original's removal. What a link (DVC, git-annex)
            # leads to, as the link itself would lead elsewhere from here.
            os.link(os.path.realpath(file), path)
            return
        except OSError:  # another disk, or one without links
            pass
    if file is None:
        write_image(path, label)
        return
    with atomic_write(path) as temporary:
        shutil.copyfile(file, temporary)


def _line(record: Record) -> str:
    return json_line(asdict(record))


def _read_lines(path: Path) -> Iterable[Record]:
    # What has no newline after it was cut off by a kill, even if it reads well: the writer that
    # goes on removes it.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            yield Record(**parse_line(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is damaged ({error}); delete the line, and its image is "
                "made again"
            ) from error


def _differences(known, wanted, where: str = "") -> Iterable[str]:
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted(known.keys() | wanted.keys()):
            place = f"{where}.{key}" if where else key
            yield from _differences(known.get(key), wanted.get(key), place)
    elif known != wanted:
        yield f"{where}: {str(known)[:100]} there, {str(wanted)[:100]} now"
