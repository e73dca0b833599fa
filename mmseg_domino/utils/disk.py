"""What a full disk, a quota or a read-only folder means for a run, said to people."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class DiskFullError(OSError):
    """Too little disk is left to go on."""


class FolderNotWritableError(OSError):
    """Nothing can be written to a folder."""


def free_space(folder: str | os.PathLike) -> str:
    """Free space of the disk that a folder is or would be on, such as ``'3.2 GiB'``."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    return f"{shutil.disk_usage(place).free / 2**30:.1f} GiB"


@contextmanager
def explain_disk(folder: str | os.PathLike) -> Iterator[None]:
    """Within the block, errors of writing into a folder say which, how full, and what to do."""
    try:
        yield
    except OSError as error:
        explained = _explained(error, Path(folder))
        if explained is None:
            raise
        explained.errno = error.errno
        raise explained from error


def _explained(error: OSError, folder: Path) -> OSError | None:
    if isinstance(error, DiskFullError | FolderNotWritableError):
        return None
    if error.filename is not None and not _is_below(str(error.filename), folder):
        return None
    if error.errno in _FULL:
        return DiskFullError(
            f"the disk or quota of {folder} ran full ({free_space(folder)} free on the disk): "
            f"{error}. Make room or give another folder; what is done is kept, and the same "
            "command goes on from there."
        )
    if error.errno in _FORBIDDEN:
        return FolderNotWritableError(
            f"{folder} cannot be written to ({free_space(folder)} free on the disk): {error}. "
            "Give another folder, or make this one writable for you."
        )
    return None


def _is_below(file: str, folder: Path) -> bool:
    inside = os.path.abspath(file)
    place = os.path.abspath(folder)
    # The folder itself may be what could not be made, in a parent that is read-only.
    return os.path.commonpath([inside, place]) in (place, inside)
