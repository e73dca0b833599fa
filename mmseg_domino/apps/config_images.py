"""Which images an embedding store is made for: those of a folder or of a config's data sets."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

from ..datasets import leaf_datasets
from ..utils.images import list_images


def is_config(path: str | os.PathLike) -> bool:
    """Whether a path is named like a config file."""
    return str(path).endswith((".py", ".json", ".yml", ".yaml"))


def images_by_key(
    source: str | os.PathLike,
    splits: Sequence[str] = ("train", "val", "test"),
    root: str | os.PathLike | None = None,
) -> dict[str, Path]:
    """Image file by its name in a store, its path from ``root`` or the data set's own root."""
    if Path(source).is_dir():
        return {_key(file, root or source): file for file in list_images(source).values()}
    if not is_config(source):
        raise FileNotFoundError(f"{source} is neither a folder nor a config file")
    cfg = Config.fromfile(source)
    register_all_modules(init_default_scope=False)
    init_default_scope(cfg.get("default_scope", "mmseg"))
    found: dict[str, Path] = {}
    for split in splits:
        for leaf in leaf_datasets(cfg.get(f"{split}_dataloader")):
            files, own = _files(leaf, f"the {split} data set {leaf['type']} of {source}")
            above = root or own or os.path.commonpath([file.parent for file in files])
            for key, file in ((_key(file, above), file) for file in files):
                other = found.setdefault(key, file)
                if os.path.abspath(other) != os.path.abspath(file):
                    raise ValueError(
                        f"two data sets have an image {key}: {other} and {file}. Give --root, a "
                        "folder above both, or extract them into two stores."
                    )
    return found


def _key(file: Path, root: str | os.PathLike) -> str:
    return PurePath(os.path.relpath(file, root)).as_posix()


def _files(leaf: dict, what: str) -> tuple[list[Path], str | None]:
    """The images of a data set, and its data root."""
    # Only the list of images is wanted: no transform has to be buildable yet.
    try:
        dataset = DATASETS.build({**leaf, "pipeline": []})
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{what} is not there: {error}. Put it at that place or change data_root in the "
            "config; --splits takes fewer sets."
        ) from error
    files = [Path(dataset.get_data_info(i)["img_path"]) for i in range(len(dataset))]
    return files, getattr(dataset, "data_root", None)
