"""Running many configs with many seeds, one process and one work folder a run."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from ..reporting import ResultsError, load_results
from .plan import PlannedRun, write_plan
from .processes import RunProcess, failure_reason
from .record import RunRecord, config_hash, read_record, write_record

__all__ = ["Sweep", "SweepBusyError", "SweepReport", "clock"]

_RESULTS = "results.json"


class SweepBusyError(RuntimeError):
    """Another sweep works in the same folder."""


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


@dataclass
class _Active:
    run: PlannedRun
    process: RunProcess
    record: RunRecord
    start: float


@dataclass
class Sweep:
    """Runs to be done in one folder.

    Started again after whatever end, it goes on: finished runs stay, a half-trained one continues
    from its last checkpoint, failed ones are tried again. A run whose config has changed since it
    was started fails, because its results would be of neither config.

    Args:
        runs: In this order.
        work_dir: Folder of the sweep; each run has its own below it.
        jobs: Runs at a time.
        threads: Of each run; ``None`` takes ``OMP_NUM_THREADS``, or divides the processors among
            the jobs.
        gpus: Processes of each run, under torchrun.
        options: Overrides of all configs.
        cwd: Folder that relative paths of the configs start from.
        discard_checkpoints: Remove a run's checkpoints once its results are there.
        redo: Start over what is finished, failed, or of a changed config.
        pretty: Format the configs that each run writes; see
            :func:`~mmseg_domino.experiments.run.train_and_test`.
        seconds: Start no run after this time.
        say: Prints a line.
    """

    runs: Sequence[PlannedRun]
    work_dir: Path
    jobs: int = 1
    threads: int | None = None
    gpus: int = 1
    options: Mapping = field(default_factory=dict)
    cwd: Path | None = None
    discard_checkpoints: bool = False
    redo: bool = False
    pretty: bool = True
    seconds: float | None = None
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.work_dir = Path(self.work_dir)
        if self.jobs < 1 or self.gpus < 1:
            raise ValueError(f"jobs and gpus must be at least 1, got {self.jobs} and {self.gpus}")

    def execute(self) -> SweepReport:
        """Do all runs.

        Raises:
            SweepBusyError: If another sweep works in the folder.
        """
        with self._alone():
            write_plan(self.work_dir, self.runs)
            # Read by torch when it is imported, in the process that runs are forked from.
            before = {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            threads = self.threads or before["OMP_NUM_THREADS"]
            threads = threads or max(1, (os.cpu_count() or 1) // self.jobs)
            os.environ.update(dict.fromkeys(before, str(threads)))
            try:
                return self._execute()
            finally:
                for key, value in before.items():
                    os.environ.pop(key) if value is None else os.environ.update({key: value})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        with (self.work_dir / ".sweep.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SweepBusyError(
                    f"another sweep is at work in {self.work_dir}; wait for it, or use another "
                    "--work-dir"
                ) from None
            yield

    def _folder(self, run: PlannedRun) -> Path:
        return self.work_dir / run.folder

    def _execute(self) -> SweepReport:
        self._begin, self._spent, self._configs = time.monotonic(), [], {}
        finished: list[PlannedRun] = []
        failed: dict[PlannedRun, str] = {}
        waiting = []
        for run in self.runs:
            try:
                record = self._prepare(run)
            except Exception as error:
                # A config that cannot be read is this run's failure, not the sweep's.
                failed[run] = f"{type(error).__name__}: {error}".splitlines()[0]
                old = RunRecord(run.group, run.name, run.seed, "failed", failed[run])
                write_record(self._folder(run), old)
                self.say(f"failed    {run.label}: {failed[run]}")
                continue
            (finished.append(run) if record is None else waiting.append((run, record)))
        reused = len(finished)
        self.say(
            f"{len(self.runs)} runs: {reused} finished before, {len(waiting)} to do, "
            f"{self.jobs} at a time, in {self.work_dir}"
        )
        left = self._work(waiting, finished, failed)
        return SweepReport(finished, reused, failed, left)

    def _prepare(self, run: PlannedRun) -> RunRecord | None:
        """The record to start a run with; ``None`` if it is finished.

        Raises:
            ValueError: If its config is not the one that it was started with.
        """
        folder = self._folder(run)
        if self.redo and read_record(folder) is not None:
            shutil.rmtree(folder)
        digest = config_hash(self._config(run.config), run.seed)
        record = read_record(folder) or RunRecord(run.group, run.name, run.seed)
        if record.config_sha256 not in ("", digest):
            raise ValueError(
                f"its config has changed since it was started in {folder}; use another "
                "--work-dir, or --redo to start over"
            )
        if record.status == "finished" and (folder / _RESULTS).is_file():
            self._discard(run)
            return None
        return record.change(config_sha256=digest)

    def _config(self, file: Path) -> dict:
        """A complete config, read once for all its seeds."""
        if file not in self._configs:
            config = Config.fromfile(file)
            if self.options:
                config.merge_from_dict(dict(self.options))
            self._configs[file] = config.to_dict()
        return self._configs[file]

    def _work(self, waiting: list, finished: list, failed: dict) -> list[PlannedRun]:
        active: list[_Active] = []
        try:
            while waiting or active:
                while waiting and len(active) < self.jobs and not self._is_late():
                    active.append(self._start(*waiting.pop(0)))
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
            for item in active:
                item.process.stop()
        return [run for run, _ in waiting]

    def _is_late(self) -> bool:
        return self.seconds is not None and time.monotonic() - self._begin > self.seconds

    def _start(self, run: PlannedRun, record: RunRecord) -> _Active:
        folder = self._folder(run)
        resumed = (folder / "last_checkpoint").is_file()
        record = record.change(status="running", reason="", attempts=record.attempts + 1)
        write_record(folder, record)
        self.say(f"{'resumed' if resumed else 'started':<9} {run.label}")
        environment = {key: os.environ[key] for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        process = RunProcess(
            run.config,
            folder,
            run.seed,
            self.options,
            self.gpus,
            self.cwd,
            environment,
            self.pretty,
        )
        return _Active(run, process, record, time.monotonic())

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
        record = item.record.change(
            status=status, reason=reason or "", seconds=round(item.record.seconds + seconds, 1)
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
        left = f"about {clock(each * rest / self.jobs)} left" if rest else "none left"
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
    for name, summary in results.summary.items():
        text += f", {summary.mean_of_domains:.1f} {name}"
    return text
