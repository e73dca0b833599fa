"""Listing the images of a folder: none hidden, none twice, and errors that say what was sought."""

import os
import os.path as osp
from collections.abc import Callable, Container, Iterator, Sequence

from mmengine import fileio
from mmengine.dataset import BaseDataset
from mmengine.fileio import LocalBackend, io

from ..utils.images import walk_files


@fileio.register_backend("local", force=True, prefixes="")
class VisibleFilesBackend(LocalBackend):
    """``LocalBackend`` whose recursive listings of files leave out hidden folders and end at links
    back to a folder above.

    MMEngine's own skips hidden files alone, and all data sets of the host framework list by it: a
    ``.ipynb_checkpoints`` would be data, and a folder that links to itself come 41 times.
    """

    def list_dir_or_file(
        self,
        dir_path: str | os.PathLike,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """As for ``LocalBackend``; files of a recursive listing come sorted."""
        if list_dir or not (list_file and recursive):
            return super().list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)
        return (name for name in walk_files(dir_path) if suffix is None or name.endswith(suffix))


io.backend_instances.clear()  # those made before are of MMEngine's class


def some_of(name: str, given: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """An argument's values as a tuple.

    Raises:
        ValueError: If there is none, one comes twice or is unknown.
    """
    given = (given,) if isinstance(given, str) else tuple(given)
    if not given or len(set(given)) < len(given) or set(given) - set(known):
        raise ValueError(f"{name} must be some of {', '.join(known)}, each once; got {list(given)}")
    return given


def entries_below(
    dataset: BaseDataset,
    folder: str,
    what: str,
    domain: str | Callable[[str], str],
    labelled: bool | Callable[[str], bool] = True,
    exclude: Container[str] = (),
) -> list[dict]:
    """What ``load_data_list`` says of the images in a folder, by name.

    Args:
        dataset: With ``dataset_name``, and the usual prefixes and suffixes.
        folder: Below the folders of images and of labels.
        what: Begins the message if there is no image.
        domain: Of all, or of each by its path below the folder, without suffix.
        labelled: Whether labels are there, or the label of a path is.
        exclude: Images to leave out, by such paths.
    """
    images = osp.join(dataset.data_prefix["img_path"], folder)
    labels = osp.join(dataset.data_prefix.get("seg_map_path") or "", folder)
    entries = []
    for stem in list_stems(images, dataset.img_suffix, what, dataset.backend_args):
        if stem in exclude:
            continue
        label = osp.join(labels, stem + dataset.seg_map_suffix)
        there = labelled if isinstance(labelled, bool) else labelled(label)
        entries.append(dict(
            img_path=osp.join(images, stem + dataset.img_suffix),
            seg_map_path=label if there else None,
            label_map=dataset.label_map,
            reduce_zero_label=dataset.reduce_zero_label,
            seg_fields=[],
            dataset=dataset.dataset_name,
            domain=domain if isinstance(domain, str) else domain(stem),
        ))  # fmt: skip
    return entries


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
