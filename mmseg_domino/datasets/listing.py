"""Listing the images of a folder, with errors that say what was looked for."""

import os.path as osp

from mmengine import fileio

__all__ = ["list_images"]


def list_images(folder: str, suffix: str, what: str, backend_args: dict | None = None) -> list[str]:
    """Images below a folder, sorted.

    Args:
        folder: Searched at any depth.
        suffix: Ending of their names.
        what: What they are, and what to do when there are none, for the messages.
        backend_args: As for ``BaseSegDataset``.

    Returns:
        Paths relative to ``folder``, without the suffix.

    Raises:
        FileNotFoundError: If the folder is missing or holds no such image.
    """
    if not fileio.exists(folder, backend_args=backend_args):
        raise FileNotFoundError(f"{what} The folder {osp.normpath(folder)} is missing.")
    names = fileio.list_dir_or_file(
        folder, list_dir=False, suffix=suffix, recursive=True, backend_args=backend_args
    )
    stems = sorted(name[: -len(suffix)] for name in names)
    if not stems:
        raise FileNotFoundError(
            f"{what} The folder {osp.normpath(folder)} holds no image named *{suffix}."
        )
    return stems
