"""Writing files so that a reader never sees half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .disk import explain_disk

#: Begins the name of every temporary file, so that what a kill left behind is known by it.
TEMPORARY_PREFIX = ".mmseg_domino-"


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block succeeds.

    The temporary file keeps the suffix of ``path``, because image writers choose the format by
    it. If the block raises, the temporary file is removed and ``path`` is left as it was.

    Args:
        path: The file to create or replace. Its folder is created if need be.

    Raises:
        DiskFullError: If the disk or the quota is full.
        FolderNotWritableError: If the folder is read-only or another's.

    Example:
        >>> with atomic_write("results.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path = Path(path)
    with explain_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files private; give what an ordinary open() would have given.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see :func:`atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
