"""Giving one damaged input to the code, in a process of its own, and judging what came of it."""

import hashlib
import os
import pickle
import resource
import select
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .damage import Damage

#: Of a processor and of the clock, which on a busy machine says little.
_CPU_SECONDS, _SECONDS = 120, 1800
#: Errors that are written for people. Another one that happens to quote the file is a fault.
_CLEAR = (ValueError, OSError, RuntimeError, KeyError)
_ACCIDENTS = (UnicodeError, NotImplementedError, RecursionError)


@dataclass(frozen=True)
class Target:
    """Something that is read.

    Attributes:
        name: For the table.
        folder: An undamaged example, which is copied for each input.
        file: Which of its files is damaged.
        use: Reads the folder as users' commands do; what it returns is compared.
        damages: What is done to the file.
        named: Other names that an error may give, besides the file's.
        expected: What is right for the damaged folder, where that is not what the undamaged gives.
    """

    name: str
    folder: Path
    file: str
    use: Callable[[Path], object]
    damages: Iterable[Damage]
    named: tuple[str, ...] = ()
    expected: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class Outcome:
    """``verdict`` is ``'right'``, ``'refused'`` or a fault; ``text`` what was said."""

    target: str
    damage: str
    verdict: str
    text: str = field(default="", compare=False)

    @property
    def is_fault(self) -> bool:
        return self.verdict not in ("right", "refused")


def digest(value: object) -> str:
    """A hash of numbers, texts, arrays and tensors in any nesting."""
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(part + b"\0")
    return found.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield str(key).encode("utf-8", "surrogateescape")
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, torch.Tensor):
        yield from _parts(value.detach().cpu().numpy())
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, bytes):
        yield value
    else:
        yield repr(value).encode("utf-8", "surrogateescape")


def _snapshot(folder: Path) -> dict[str, tuple]:
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            status = os.lstat(os.path.join(place, name))
            found[os.path.join(place, name)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def _apart(work: Callable[[], object], log: Path) -> tuple[str, object]:
    """``("value", digest)``, ``("error", ...)`` or ``("end", how)`` of work in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover, another process
        try:
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
            with open(log, "wb", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            try:
                outcome = ("value", digest(work()))
            except Exception as error:
                clear = isinstance(error, _CLEAR) and not isinstance(error, _ACCIDENTS)
                outcome = ("error", (type(error).__name__, str(error), clear))
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(outcome, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        if not select.select([pipe], [], [], _SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "end", f"it does not end within {_SECONDS} s"
        content = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not content:
        return "end", f"the process ended by itself (status {status})"
    return pickle.loads(content)


def attack(target: Target, sandbox: Path) -> Iterator[Outcome]:
    """Judge every input of a target.

    Args:
        target: What to attack.
        sandbox: A folder to work in. Whatever changes in it besides the copy of the target's
            folder was written outside.
    """
    sandbox.mkdir(parents=True, exist_ok=True)
    (sandbox / "neighbour.png").write_bytes(b"must stay")
    case, log = sandbox / "case", sandbox.with_name(sandbox.name + ".log")

    def fresh() -> None:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(target.folder, case, symlinks=True)

    fresh()
    kind, whole = _apart(lambda: target.use(case), log)
    if kind != "value":
        raise RuntimeError(f"{target.name}: the undamaged input fails: {whole}\n{log.read_text()}")
    for name, damage in target.damages:
        fresh()
        damage(case / target.file)
        before = {p: s for p, s in _snapshot(sandbox).items() if not _below(p, case)}
        kind, found = _apart(lambda: target.use(case), log)
        after = {p: s for p, s in _snapshot(sandbox).items() if not _below(p, case)}
        if before != after:
            changed = sorted({p for p, _ in before.items() ^ after.items()})
            yield Outcome(target.name, name, "code run or file written outside", str(changed))
        elif kind == "end":
            yield Outcome(target.name, name, "crash", found)
        elif kind == "error":
            yield _judge_error(target, name, *found)
        else:
            right = whole
            if target.expected is not None:
                right = _apart(lambda: target.expected(case), log)[1]
            same = found == right
            yield Outcome(target.name, name, "right" if same else "wrong number")


def _below(path: str, folder: Path) -> bool:
    return path.startswith(str(folder) + os.sep)


def _judge_error(target: Target, name: str, kind: str, text: str, clear: bool) -> Outcome:
    names = (Path(target.file).name, *target.named)
    verdict = "refused"
    if not any(n in text for n in names):
        verdict = "error without the file's name"
    elif not clear:
        verdict = "error that is an accident"
    return Outcome(target.name, name, verdict, f"{kind}: {text}")
