"""Listing the images of a folder, with errors that say what was looked for."""

import os.path as osp

from mmengine import fileio
from mmengine.fileio import LocalBackend

from ..utils.images import walk_files


def list_stems(folder: str, suffix: str, what: str, backend_args: dict | None = None) -> list[str]:
    """Images below a folder, sorted. Hidden files and folders are no data."""
    if not fileio.exists(folder, backend_args=backend_args):
        raise FileNotFoundError(f"{what} The folder {osp.normpath(folder)} is missing.")
    if isinstance(fileio.get_file_backend(folder, backend_args=backend_args), LocalBackend):
        names = walk_files(folder)
    else:
        listed = fileio.list_dir_or_file(
            folder, list_dir=False, recursive=True, backend_args=backend_args
        )
        names = (n for n in listed if not any(p.startswith(".") for p in n.split("/")))
    stems = sorted(name[: -len(suffix)] for name in names if name.endswith(suffix))
    if not stems:
        raise FileNotFoundError(
            f"{what} The folder {osp.normpath(folder)} holds no image named *{suffix}."
        )
    return stems
