"""What is known of a run: a small JSON file in its work folder."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..utils import atomic_write

__all__ = ["RECORD_FILE", "SWEEP_PID", "RunRecord", "config_hash", "read_record", "write_record"]

RECORD_FILE = "run.json"
RECORD_FORMAT = "mmseg_domino.run/1"
#: Environment variable with the process id of the sweep that a run belongs to: a run does not
#: outlive it.
SWEEP_PID = "MMSEG_DOMINO_SWEEP_PID"
STATUSES = ("running", "finished", "failed")


@dataclass(frozen=True)
class RunRecord:
    """One run of a sweep.

    Attributes:
        group: Name of the set.
        name: Name of the config.
        seed: Of everything random.
        status: ``"running"`` (or cut off), ``"finished"`` or ``"failed"``.
        reason: Why it failed, a line.
        config_sha256: Hash of the complete config; see :func:`config_hash`.
        seconds: Spent on it so far, in all attempts.
        attempts: How often it was started.
    """

    group: str
    name: str
    seed: int
    status: str = "running"
    reason: str = ""
    config_sha256: str = ""
    seconds: float = 0.0
    attempts: int = 0

    def change(self, **values) -> "RunRecord":
        return replace(self, **values)


def config_hash(config: Mapping, seed: int) -> str:
    """A hash of everything that a complete config and a seed say.

    Not of the work folder, which may be moved; nor of files that the config names.
    """
    content = {key: value for key, value in config.items() if key != "work_dir"}
    text = json.dumps([content, seed], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(work_dir: str | os.PathLike) -> RunRecord | None:
    """The record in a work folder; ``None`` if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    path = Path(work_dir) / RECORD_FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != RECORD_FORMAT:
            raise ValueError(f"another format than {RECORD_FORMAT!r}")
        record = RunRecord(**data)
        if record.status not in STATUSES:
            raise ValueError(f"unknown status {record.status!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to run this again") from error
    return record


def write_record(work_dir: str | os.PathLike, record: RunRecord) -> None:
    """Write the record into a work folder, made if need be."""
    with atomic_write(Path(work_dir) / RECORD_FILE) as path:
        text = json.dumps({"format": RECORD_FORMAT, **asdict(record)}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
