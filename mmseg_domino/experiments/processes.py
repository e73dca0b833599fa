"""Starting the process of a run, and telling how it ended."""

import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from .record import SWEEP_PID

LOG_FILE = "sweep.log"
_MARK = "==== a run starts ===="
_RUN = "mmseg_domino.experiments.run"
#: Imported once and shared by all runs: 5 to 10 s of a processor each otherwise.
_PRELOAD = [_RUN, "mmseg_domino.plugin"]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def _work(
    work_dir: str, cwd: str | None, environment: Mapping[str, str], log: str
) -> None:  # pragma: no cover, runs in a process of its own
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)  # of this process alone: multiprocessing has no `cwd`
    # MMEngine collects garbage for each data set: half a second where it looks at all imports.
    gc.freeze()
    from .run import train_and_test

    train_and_test(work_dir)


class RunProcess:
    """A run at work: in one process or, under torchrun, in several.

    Without a GPU the process is forked from one that has imported everything; CUDA does not
    survive a fork.
    """

    def __init__(
        self,
        work_dir: Path,
        processes: int = 1,
        gpus: Sequence[str] = (),
        cwd: str | os.PathLike | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        work_dir = work_dir.resolve()
        self.log = work_dir / LOG_FILE
        with self.log.open("a", encoding="utf-8") as log:
            log.write(_MARK + "\n")
        environment = {**(environment or {}), SWEEP_PID: str(os.getpid())}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        cwd = None if cwd is None else str(Path(cwd).resolve())
        if processes == 1 and not gpus:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_PRELOAD)
            self._process = context.Process(
                target=_work, args=(str(work_dir), cwd, environment, str(self.log))
            )
            self._process.start()
            return
        command = [sys.executable, "-m", _RUN, str(work_dir)]
        if processes > 1:
            command[2:2] = [
                "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m",
            ]  # fmt: skip
            command += ["--launcher", "pytorch"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, **environment}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    @property
    def exit_code(self) -> int | None:
        """0, what it ended with, minus the signal that ended it; ``None`` while it works."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def kill(self) -> None:
        """End it at once; its checkpoints remain. :meth:`wait` for it."""
        if self.exit_code is not None:
            return
        if isinstance(self._process, subprocess.Popen):
            os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()

    def wait(self) -> None:
        """Return when it has ended."""
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        else:
            self._process.join()


_ERROR = re.compile(r"^(\[rank\d+\]:\s*)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*)$")


def failure_reason(exit_code: int, log: Path) -> str:
    """Why a run failed, in a line: the error that its log ends with, or the signal that ended it.

    Of several processes it is the error of the first that failed: the others lost their partner.
    """
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}"
    text = ""
    if log.is_file():
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 262144))
            text = file.read().decode("utf-8", "replace").rsplit(_MARK, 1)[-1]
    found = [match for line in text.splitlines() if (match := _ERROR.match(line))]
    of_ranks = [match for match in found if match[1]]
    if found:
        return (of_ranks[0] if of_ranks else found[-1])[2][:500]
    return f"ended with exit code {exit_code}; see {log}"
