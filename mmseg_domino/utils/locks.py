"""One at a time: keeping two runs out of one folder."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .disk import explain_disk

_HELD = (errno.EAGAIN, errno.EACCES)
_UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class FolderInUseError(OSError):
    """Another run is at work in a folder."""


@contextmanager
def folder_lock(
    folder: str | os.PathLike, name: str, task: str, wait: float = 0.0
) -> Iterator[None]:
    """Hold a lock of a folder for the length of the block.

    It ends with the process, however that ends, and is not inherited by its children. Where the
    file system knows no locks, nothing is checked.

    Args:
        folder: Made if need be.
        name: Of the lock; locks of other names do not matter.
        task: What is done under it, such as ``'training'``, for the other's message.
        wait: Seconds to wait for another process.
    """
    path = Path(folder) / f".{name}.lock"
    with explain_disk(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        deadline = time.monotonic() + wait
        while not _taken(file):
            if time.monotonic() >= deadline:
                file.seek(0)
                who = file.read(200).strip() or "another process"
                raise FolderInUseError(
                    f"{folder} is in use: {who}. Two would overwrite each other's files. Wait for "
                    "it or end it, or give another folder (--work-dir, --out)."
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"{task} by process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _taken(file) -> bool:
    try:
        # Unlike those of flock, these are not kept alive by data-loading workers.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNKNOWN:
            raise
    return True
