"""Names that come out of files, as paths that stay where they belong."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal


class OutsideNameError(ValueError):
    """A file names a path outside the folder that its names belong to."""


def resolve_below(
    root: str | os.PathLike,
    name: object,
    named_in: str | os.PathLike,
    links: Literal["none", "last", "any"] = "none",
) -> Path:
    """The path of a name below a folder, for names that a file or another program gives.

    Args:
        root: The folder, which may itself be reached through links.
        name: Relative path below it, with ``/`` between its parts.
        named_in: The file that the name stands in, for the message.
        links: Which links may lead out of the folder: ``'none'``; ``'last'``, one in the name's
            last place, for callers that replace or remove the name itself (``atomic_write``,
            ``os.replace``, ``unlink``); ``'any'``, for data that users link together to be read.

    Returns:
        ``root / name``, which need not exist.

    Raises:
        OutsideNameError: If the name is no text, is empty or absolute, holds ``..``, or leads out
            of the folder through a link.

    Example:
        >>> resolve_below("/data/wd2/panoptic", "a/0001.png", "panoptic.json").as_posix()
        '/data/wd2/panoptic/a/0001.png'
    """
    reason = _unsafe(name)
    path = Path(root)
    if reason is None:
        path = path / name
        place = path.parent if links == "last" else path
        if links != "any" and not place.resolve().is_relative_to(Path(root).resolve()):
            reason = f"leads through a link to {place.resolve()}"
    if reason is not None:
        raise OutsideNameError(
            f"{os.fspath(named_in)} names {name!r}, which {reason}; expected a path inside "
            f"{os.fspath(root)}. Nothing was read or written under that name."
        )
    return path


def printable(path: str | os.PathLike) -> str:
    """A file's name for messages and web pages; bytes that are no UTF-8 become escapes.

    Python holds such bytes (names from old archives) as characters that nothing can print.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unsafe(name: object) -> str | None:
    if not isinstance(name, str):
        return "is no text"
    if not name.strip("./") or "\0" in name:
        return "is no file's name"
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(name).is_absolute() or kind(name).drive:
            return "is an absolute path"
        if ".." in kind(name).parts:
            return "leaves its folder by '..'"
    return None
