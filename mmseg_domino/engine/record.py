"""What a test leaves in its work folder, and how an interrupted one goes on."""

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmengine.config import Config

from ..datasets import leaf_datasets
from ..metrics import (
    DetectionResults,
    RunResults,
    is_detection,
    load_detection_results,
    load_results,
)
from ..page import Table
from ..reporting import detection_table, domain_table
from ..utils import write_text
from ..utils.configs import type_name
from ..utils.hashes import file_sha256

_PACKAGES = (
    "mmseg_domino", "torch", "mmsegmentation", "onedl-mmsegmentation", "mmengine",
    "onedl-mmengine", "mmcv", "onedl-mmcv", "mmdet", "onedl-mmdetection", "diffusers",
    "open_clip_torch", "transformers",
)  # fmt: skip


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"python": sys.version.split()[0], **found}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says of a folder; ``None`` if it refuses or is not installed."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _commit() -> str | None:
    """The commit of the project one works in, or else of this package's checkout.

    ``+changes`` behind it says that tracked files differ from it.
    """
    folder = Path.cwd()
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        folder = Path(__file__).parent
        # A package that is installed inside of another's checkout is not tracked there.
        if not _git(folder, "ls-files", Path(__file__).name):
            return None
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changes else commit


def describe_run(cfg: Config, checkpoint: str) -> dict:
    """Where the figures of a test come from, for ``results.json``."""
    return {
        "name": Path(cfg.work_dir).name,
        "config": str(cfg.filename),
        "checkpoint": checkpoint,
        "command": shlex.join(sys.argv),
        "protocol": _protocol(cfg),
        "seed": cfg.get("randomness", {}).get("seed"),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "commit": _commit(),
    }


def _protocol(cfg: Config) -> str | None:
    """Windows of the test, and split and size of each data set, as width x height.

    Figures can be compared where these are the same.
    """
    model = cfg.get("model") or {}
    options = (model.get("module") or model).get("test_cfg") or {}
    said = ["whole images"]
    if options.get("mode") == "slide":
        crop, stride = (" x ".join(map(str, options[k][::-1])) for k in ("crop_size", "stride"))
        said = [f"windows of {crop}, stride {stride}"]
    for leaf in leaf_datasets(cfg.get("test_dataloader")):
        images = str((leaf.get("data_prefix") or {}).get("img_path") or "")
        parts = [type_name(leaf), str(leaf.get("data_root") or ""), images, leaf.get("split") or ""]
        sizes = [t.get("scale") for t in leaf.get("pipeline") or () if type_name(t) == "Resize"]
        at = [f"at {size[0]} x {size[1]}" for size in sizes if isinstance(size, list | tuple)]
        said.append(" ".join([*filter(None, parts), *at]))
    return "; ".join(dict.fromkeys(said)) if model else None


#: Larger files are known by size and time.
_HASHED_BYTES = 1 << 28


def _fingerprint(cfg: Config, checkpoint: str) -> str:
    """What decides a test's figures: the checkpoint, the config, and the files that it names."""
    config = [cfg.get(key) for key in ("model", "data_preprocessor", "test_cfg", "test_evaluator")]
    config.append(cfg.test_dataloader.dataset)
    files = sorted({f"{name}={_content(name)}" for name in _files(config)})
    parts = {"checkpoint": _content(checkpoint), "config": repr(config), "files": repr(files)}
    return " ".join(
        f"{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}" for name, text in parts.items()
    )


def _files(node: object) -> Iterator[str]:
    """Stores, prompt banks and whatever other files a part of a config names."""
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _files(child)
    elif isinstance(node, str) and len(node) < 4096 and Path(node).is_file():
        yield node


def _content(file: str) -> str:
    path = Path(file)
    if not path.is_file():
        return "none"
    status = path.stat()
    if status.st_size > _HASHED_BYTES and path.suffix != ".pth":
        return f"{status.st_size} {status.st_mtime_ns}"
    return file_sha256(path)


def _metrics(cfg: Config) -> list[dict]:
    evaluators = cfg.test_evaluator
    return list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]


def report_hook(cfg: Config) -> str:
    """Name of the hook that reports what the config's test measures."""
    detects = any(type_name(metric) == "DomainDetectionMetric" for metric in _metrics(cfg))
    return "DetectionReportHook" if detects else "DominoReportHook"


def record_results(cfg: Config, checkpoint: str, resume: bool = False) -> None:
    """Have the test's metric write its results; ``DomainIoUMetric`` keeps a journal until then.

    Args:
        cfg: A config that tests with ``DomainIoUMetric`` or ``DomainDetectionMetric``, of
            :func:`for_this_run`; one that does not is left alone.
        checkpoint: The checkpoint that is tested.
        resume: Go on with the interrupted test of the same checkpoint in this work folder.

    Raises:
        ValueError: If a detector's test is to be resumed, which keeps no journal.
    """
    work_dir = Path(cfg.work_dir)
    journal = str(work_dir / "test_journal")
    fingerprint = _fingerprint(cfg, checkpoint)
    for metric in _metrics(cfg):
        if type_name(metric) not in ("DomainIoUMetric", "DomainDetectionMetric"):
            continue
        # Whatever a saved config says: the results are this run's.
        metric["results_file"] = str(work_dir / "results.json")
        metric["run"] = describe_run(cfg, checkpoint)
        if type_name(metric) == "DomainIoUMetric":
            metric["journal"] = dict(folder=journal, resume=resume, fingerprint=fingerprint)
        elif resume:
            raise ValueError("the test of a detector keeps no journal: run it without --resume")
    if resume:
        cfg.test_dataloader["dataset"] = dict(
            type="RemainingDataset", dataset=cfg.test_dataloader.dataset, journal=journal
        )


def write_tables(work_dir: str) -> tuple[RunResults | DetectionResults, Table]:
    """Write ``results.md`` and ``results.csv`` beside ``results.json``."""
    if is_detection(work_dir):
        results = load_detection_results(work_dir)
        table = detection_table(results)
    else:
        results = load_results(work_dir)
        table = domain_table(results)
    for name, text in (("results.md", table.markdown()), ("results.csv", table.csv())):
        write_text(Path(work_dir) / name, text)
    return results, table
