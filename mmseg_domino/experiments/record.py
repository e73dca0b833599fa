"""What is known of a run, in its work folder: its frozen config and a small JSON file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config

from ..utils import write_text
from ..utils.json_files import read_json, write_json

CONFIG_FILE = "frozen_config.py"
RECORD_FILE = "run.json"
RECORD_FORMAT = "mmseg_domino.run/2"
#: Environment variable with the process id of the sweep that a run belongs to: a run does not
#: outlive it.
SWEEP_PID = "MMSEG_DOMINO_SWEEP_PID"
STATUSES = ("running", "finished", "failed")


@dataclass(frozen=True)
class RunRecord:
    """One run of a sweep.

    Attributes:
        group: Name of the set.
        name: Name of the condition.
        seed: Of everything random.
        status: ``"running"`` (or cut off), ``"finished"`` or ``"failed"``.
        reason: Why it failed, a line.
        config_sha256: Hash of the frozen config; see :func:`config_hash`.
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


def config_hash(config: Mapping) -> str:
    """A hash of everything that a complete config says, not of the files that it names."""
    text = json.dumps(config, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def freeze_config(work_dir: str | os.PathLike, config: Config) -> str:
    """Write a complete config into the folder of the run that it describes; return its hash."""
    digest = config_hash(config.to_dict())
    path = Path(work_dir) / CONFIG_FILE
    write_text(path, config.pretty_text)
    try:
        frozen = config_hash(read_frozen(work_dir).to_dict())
    except ValueError:
        frozen = ""
    if frozen != digest:
        path.unlink()
        raise ValueError(
            "the config cannot be frozen: what is read back from a file differs from it. Name "
            "classes and functions by strings"
        )
    return digest


def read_frozen(work_dir: str | os.PathLike) -> Config:
    """The frozen config of a run's folder."""
    path = Path(work_dir) / CONFIG_FILE
    try:
        return Config.fromfile(path, format_python_code=False)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged ({error}); start the sweep with --redo to run this again"
        ) from error


def read_record(work_dir: str | os.PathLike) -> RunRecord | None:
    """The record in a work folder; ``None`` if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    path = Path(work_dir) / RECORD_FILE
    if not path.is_file():
        return None
    remedy = "delete it and start the sweep again, which goes on from the checkpoints beside it"
    content = read_json(path, RECORD_FORMAT, remedy)
    try:
        record = RunRecord(**content)
        if record.status not in STATUSES:
            raise ValueError(f"unknown status {record.status!r}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error
    return record


def write_record(work_dir: str | os.PathLike, record: RunRecord) -> None:
    """Write the record into a work folder, made if need be."""
    write_json(Path(work_dir) / RECORD_FILE, RECORD_FORMAT, asdict(record))
