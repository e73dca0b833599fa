"""Listing the images of a folder: none hidden, none twice, and errors that say what was sought."""

import os
import os.path as osp
from collections.abc import Iterator

from mmengine import fileio
from mmengine.fileio import LocalBackend, io

from ..utils.images import walk_files


io.backend_instances.clear()  # those made before are of MMEngine's class


def list_stems(folder: str, suffix: str, what: str, backend_args: dict | None = None) -> list[str]:
    """Images below a folder, sorted. Hidden files and folders are no data."""
    if not fileio.exists(folder, backend_args=backend_args):
        raise FileNotFoundError(f"{what} The folder {osp.normpath(folder)} is missing.")
    names = fileio.list_dir_or_file(
        folder, list_dir=False, suffix=suffix, recursive=True, backend_args=backend_args
    )
    stems = sorted(
        name[: -len(suffix)]
        for name in names
        if not any(part.startswith(".") for part in name.split("/"))
    )
    if not stems:
        raise FileNotFoundError(
            f"{what} The folder {osp.normpath(folder)} holds no image named *{suffix}."
        )
    return stems
