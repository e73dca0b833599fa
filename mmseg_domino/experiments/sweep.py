"""Running many configs with many seeds, one process and one work folder a run."""

import copy
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmengine.config import Config

from ..metrics import ResultsError, load_results
from ..utils.locks import folder_lock
from .plan import PlannedRun, write_plan
from .processes import RunProcess, failure_reason, visible_gpus
from .record import (
    CONFIG_FILE,
    RunRecord,
    config_hash,
    freeze_config,
    read_frozen,
    read_record,
    write_record,
)

_RESULTS = "results.json"


def clock(seconds: float) -> str:
    """``H:MM:SS``, or ``M:SS`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(frozen=True)
class SweepReport:
    """How a sweep came out.

    Attributes:
        finished: Runs with results, those of earlier sweeps too.
        reused: How many of them were finished before.
        failed: Runs and reasons.
        left: Runs that there was no time for.
    """

    finished: Sequence[PlannedRun]
    reused: int
    failed: Mapping[PlannedRun, str]
    left: Sequence[PlannedRun] = ()

    @property
    def complete(self) -> bool:
        return not self.failed and not self.left


@dataclass(frozen=True)
class Resources:
    """What a sweep may use.

    Attributes:
        jobs: Runs at a time.
        threads: Of each run; ``None`` takes ``OMP_NUM_THREADS``, or divides the processors among
            the jobs.
        gpus: Processes of each run, one a GPU, under torchrun. Each job has its own cards, in
            turn if there are fewer than all jobs want.
        hours: Start no run after this time; ``None`` is no limit.
    """

    jobs: int = 1
    threads: int | None = None
    gpus: int = 1
    hours: float | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.gpus < 1:
            raise ValueError(f"jobs and gpus must be at least 1, got {self.jobs} and {self.gpus}")

    def cards(self, job: int, visible: Sequence[str]) -> list[str]:
        """The cards of a job, of those that are visible.

        Raises:
            ValueError: If a run wants more than there are.
        """
        if visible and self.gpus > len(visible):
            raise ValueError(
                f"a run on {self.gpus} GPUs needs as many, and {len(visible)} are visible; lower "
                "--gpus"
            )
        first = job * self.gpus
        return [visible[(first + k) % len(visible)] for k in range(self.gpus)] if visible else []


@dataclass
class _Active:
    run: PlannedRun
    process: RunProcess
    record: RunRecord
    start: float
    job: int


@dataclass
class Sweep:
    """Runs to be done in one folder.

    Every config is resolved once and frozen in its run's folder before the first run starts; runs
    see these files alone. Started again after whatever end, a sweep goes on: finished runs stay, a
    half-trained one continues from its newest checkpoint, failed ones are tried again. A run whose
    config is now another one fails, because its results would be of neither.

    Args:
        runs: In this order.
        work_dir: Folder of the sweep; each run has its own below it.
        resources: Jobs, threads, GPUs, time.
        options: Overrides of all configs.
        cwd: Folder that relative paths of the configs start from.
        discard_checkpoints: Remove a run's checkpoints once its results are there.
        redo: Start over, also what is finished or was started with another config.
        say: Prints a line.
    """

    runs: Sequence[PlannedRun]
    work_dir: Path
    resources: Resources = Resources()
    options: Mapping = field(default_factory=dict)
    cwd: Path | None = None
    discard_checkpoints: bool = False
    redo: bool = False
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.work_dir = Path(self.work_dir)

    def execute(self) -> SweepReport:
        """Do all runs.

        Raises:
            FolderInUseError: If another sweep works in the folder.
            ValueError: If a run wants more GPUs than are visible.
        """
        self._gpus = visible_gpus()
        self.resources.cards(0, self._gpus)
        with folder_lock(self.work_dir, "sweep", "a sweep"):
            write_plan(self.work_dir, self.runs)
            # Read by torch when it is imported, in the process that runs are forked from.
            before = {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            threads = self.resources.threads or before["OMP_NUM_THREADS"]
            threads = threads or max(1, (os.cpu_count() or 1) // self.resources.jobs)
            os.environ.update(dict.fromkeys(before, str(threads)))
            try:
                return self._execute()
            finally:
                for key, value in before.items():
                    os.environ.pop(key) if value is None else os.environ.update({key: value})

    def _folder(self, run: PlannedRun) -> Path:
        return self.work_dir / run.folder

    def _execute(self) -> SweepReport:
        self._begin, self._spent = time.monotonic(), []
        finished: list[PlannedRun] = []
        failed: dict[PlannedRun, str] = {}
        waiting = []
        for run in self.runs:
            try:
                record = self._prepare(run)
            except Exception as error:
                # A config that cannot be read is this run's failure, not the sweep's.
                failed[run] = f"{type(error).__name__}: {error}".splitlines()[0]
                self._note_failure(run, failed[run])
                continue
            (finished.append(run) if record is None else waiting.append((run, record)))
        reused, jobs = len(finished), self.resources.jobs
        self.say(
            f"{len(self.runs)} runs: {reused} finished before, {len(waiting)} to do, "
            f"{jobs} at a time, in {self.work_dir}"
        )
        if 0 < len(self._gpus) < jobs * self.resources.gpus:
            self.say(f"the {jobs} jobs share {len(self._gpus)} GPUs")
        left = self._work(waiting, finished, failed)
        return SweepReport(finished, reused, failed, left)

    def _note_failure(self, run: PlannedRun, reason: str) -> None:
        """Tell that a run was not started; what is known of an earlier start stays."""
        self.say(f"failed    {run.label}: {reason}")
        folder = self._folder(run)
        if not (folder / CONFIG_FILE).exists() and not (folder / _RESULTS).exists():
            write_record(folder, RunRecord(run.group, run.name, run.seed, "failed", reason))

    def _prepare(self, run: PlannedRun) -> RunRecord | None:
        """Freeze a run's config; return the record to start with, ``None`` if it is finished."""
        folder = self._folder(run)
        if self.redo and folder.is_dir():
            shutil.rmtree(folder)
        config = run.resolve()
        if self.options:
            config.merge_from_dict(copy.deepcopy(dict(self.options)))
        record = read_record(folder) or RunRecord(run.group, run.name, run.seed)
        digest = self._freeze(folder, config)
        if record.config_sha256 not in ("", digest):
            raise ValueError(
                f"{folder / CONFIG_FILE} is not the config that the run was started with; use "
                "--redo to start over"
            )
        if record.status == "finished" and (folder / _RESULTS).is_file():
            self._discard(run)
            return None
        return replace(record, config_sha256=digest)

    def _freeze(self, folder: Path, config: Config) -> str:
        """The hash of a run's config, frozen now unless it was before."""
        remedy = "use another --work-dir, or --redo to start over"
        frozen = folder / CONFIG_FILE
        if frozen.is_file():
            digest = config_hash(read_frozen(folder).to_dict())
            if digest != config_hash(config.to_dict()):
                raise ValueError(
                    f"its config has changed since it was frozen in {frozen}; {remedy}"
                )
            return digest
        if (folder / _RESULTS).is_file() or any(folder.glob("*.pth")):
            raise ValueError(f"{folder} has results or checkpoints of an unknown config; {remedy}")
        return freeze_config(folder, config)

    def _work(self, waiting: list, finished: list, failed: dict) -> list[PlannedRun]:
        active: list[_Active] = []
        try:
            while waiting or active:
                while waiting and len(active) < self.resources.jobs and not self._is_late():
                    job = min(set(range(self.resources.jobs)) - {a.job for a in active})
                    active.append(self._start(*waiting.pop(0), job))
                if not active:
                    break
                time.sleep(0.1)
                for item in [a for a in active if a.process.exit_code is not None]:
                    active.remove(item)
                    reason = self._end(item)
                    if reason is None:
                        finished.append(item.run)
                    else:
                        failed[item.run] = reason
                    self._tell(item, reason, len(finished) + len(failed), len(active))
        finally:
            # all before one is waited for: a second signal, as make sends it, ends the waiting
            for item in active:
                item.process.kill()
            for item in active:
                item.process.wait()
        return [run for run, _ in waiting]

    def _is_late(self) -> bool:
        hours = self.resources.hours
        return hours is not None and time.monotonic() - self._begin > 3600 * hours

    def _start(self, run: PlannedRun, record: RunRecord, job: int) -> _Active:
        folder = self._folder(run)
        resumed = any(folder.glob("*.pth"))
        record = replace(record, status="running", reason="", attempts=record.attempts + 1)
        write_record(folder, record)
        self.say(f"{'resumed' if resumed else 'started':<9} {run.label}")
        environment = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        cards = self.resources.cards(job, self._gpus)
        process = RunProcess(folder, self.resources.gpus, cards, self.cwd, environment)
        return _Active(run, process, record, time.monotonic(), job)

    def _end(self, item: _Active) -> str | None:
        """Record how a run ended; return why it failed, if it did."""
        folder, reason = self._folder(item.run), None
        code = item.process.exit_code
        if code != 0:
            reason = failure_reason(code, item.process.log)
        else:
            try:
                load_results(folder)
            except (FileNotFoundError, ResultsError) as error:
                reason = f"it ended well, but left no results: {error}"
        seconds = time.monotonic() - item.start
        self._spent.append(seconds)
        status = "finished" if reason is None else "failed"
        record = replace(
            item.record,
            status=status,
            reason=reason or "",
            seconds=round(item.record.seconds + seconds, 1),
        )
        write_record(folder, record)
        if reason is None:
            self._discard(item.run)
        return reason

    def _discard(self, run: PlannedRun) -> None:
        if self.discard_checkpoints:
            for path in self._folder(run).glob("*.pth"):
                path.unlink()

    def _tell(self, item: _Active, reason: str | None, done: int, active: int) -> None:
        elapsed = time.monotonic() - self._begin
        each = sum(self._spent) / len(self._spent)
        rest = len(self.runs) - done
        left = f"about {clock(each * rest / self.resources.jobs)} left" if rest else "none left"
        what = f"failed    {item.run.label}: {reason}"
        if reason is None:
            what = f"finished  {item.run.label} in {clock(self._spent[-1])}"
            what += _figures(self._folder(item.run))
        self.say(f"[{done}/{len(self.runs)}] {what} | {clock(elapsed)} elapsed, {left}")


def _figures(folder: Path) -> str:
    """The headline of a run, for its line on the screen."""
    results = load_results(folder)
    source = results.source_group
    text = "" if source is None else f"; mIoU {source.miou:.1f} source"
    for name in results.target_datasets:
        text += f", {results.figures[f'{name}/mean_of_domains'].value:.1f} {name}"
    return text
