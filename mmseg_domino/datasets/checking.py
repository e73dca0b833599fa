"""Checking a data set's files before a night of training depends on them.

Shapes: ``N`` classes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from .transforms import LoadCheckedAnnotations, LoadCheckedImage, SetDomain
from .wrappers import leaf_datasets

__all__ = [
    "IMAGE_COUNTS",
    "IMAGE_SIZES",
    "DatasetCheck",
    "check_dataset",
    "check_loader",
    "expected_count",
]

#: Number of images of each split, where the data set's paper or page names one.
IMAGE_COUNTS = {
    "cityscapes": {"train": 2975, "val": 500, "test": 1525},
    "acdc/fog": {"train": 400, "val": 100, "test": 500},
    "acdc/night": {"train": 400, "val": 106, "test": 500},
    "acdc/rain": {"train": 400, "val": 100, "test": 500},
    "acdc/snow": {"train": 400, "val": 100, "test": 500},
    "dark_zurich": {"val": 50, "test": 151},
    "nighttime_driving": {"test": 50},
    "bdd100k": {"train": 7000, "val": 1000},
    "mapillary": {"training": 18000, "validation": 2000},
    "gta5": {"": 24966},
    "synthia": {"": 9400},
    "foggy_cityscapes/beta_0.005": {"val": 500},
    "foggy_cityscapes/beta_0.01": {"val": 500},
    "foggy_cityscapes/beta_0.02": {"val": 500},
}
#: Width and height, where all images of a data set have the same.
IMAGE_SIZES = {
    "cityscapes": (2048, 1024),
    "foggy_cityscapes": (2048, 1024),
    "cityscapes_c": (2048, 1024),
    "acdc": (1920, 1080),
    "acdc_reference": (1920, 1080),
    "dark_zurich": (1920, 1080),
    "nighttime_driving": (1920, 1080),
    "bdd100k": (1280, 720),
    "synthia": (1280, 760),
}
_SPLITS = {split for counts in IMAGE_COUNTS.values() for split in counts if split}


@dataclass
class DatasetCheck:
    """What was found in one group of a data set.

    Attributes:
        group: ``dataset/domain``, or the class's name where samples carry no tags.
        images: Number of images.
        expected: Number of images of the published split, or ``None`` if not known.
        expected_size: Published width and height, or ``None`` if not known or various.
        labelled: Number of images with a readable label.
        sizes: How many images there are of each (width, height).
        pixels: ``(N,)`` label pixels of each class; 255 apart in ``ignored``.
        problems: Message by file.
        orphans: Labels without an image.
    """

    group: str
    images: int = 0
    expected: int | None = None
    expected_size: tuple[int, int] | None = None
    labelled: int = 0
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    @property
    def count_is_right(self) -> bool:
        return self.expected is None or self.images == self.expected

    @property
    def sizes_are_right(self) -> bool:
        return self.expected_size is None or set(self.sizes) <= {self.expected_size}

    @property
    def ok(self) -> bool:
        return not self.problems and not self.orphans and self.images > 0


def expected_count(group: str, path: str) -> int | None:
    """Number of images of the published split that a file is of; ``None`` if not known."""
    counts = IMAGE_COUNTS.get(group) or IMAGE_COUNTS.get(group.split("/")[0]) or {}
    split = next((part for part in Path(path).parts if part in _SPLITS), "")
    return counts.get(split, counts.get(""))


@dataclass(frozen=True)
class _Found:
    group: str
    path: str
    size: tuple[int, int] | None
    counts: np.ndarray | None
    problem: str | None


def _check_one(info: dict, num_classes: int, ignore_index: int) -> _Found:
    group = f"{info.get('dataset')}/{info.get('domain')}"
    size = counts = problem = None
    try:
        sample = LoadCheckedImage().transform(dict(info, seg_fields=[]))
        size = sample["img_shape"][::-1]
        sample = LoadCheckedAnnotations(num_classes, ignore_index, unlabelled="skip").transform(
            sample
        )
        if "gt_seg_map" in sample:
            counts = np.bincount(sample["gt_seg_map"].ravel(), minlength=256)
    except (ValueError, OSError) as error:
        problem = str(error)
    return _Found(group, info["img_path"], size, counts, problem)


def _tagged(dataset: BaseDataset) -> Iterable[dict]:
    tags = [t for t in dataset.pipeline.transforms if isinstance(t, SetDomain)]
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for tag in tags:
            info = tag.transform(info)
        yield info


def _orphans(dataset: BaseDataset, labels: Iterable[str]) -> list[str]:
    """Labels in the folders of these labels that belong to no image."""
    known = {os.path.normpath(path) for path in labels}
    suffix = getattr(dataset, "seg_map_suffix", ".png")
    folders = {os.path.dirname(path) for path in known}
    found = (
        os.path.join(folder, name)
        for folder in folders
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if name.endswith(suffix)
    )
    return sorted(path for path in found if path not in known)


def check_dataset(
    dataset: BaseDataset,
    limit: int | None = None,
    workers: int = 0,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> list[DatasetCheck]:
    """Decode every image and label of a data set, and say what is wrong with which.

    Args:
        dataset: Built; its pipeline is not run but for ``SetDomain``.
        limit: Look at so many images, evenly spread, instead of all.
        workers: Processes; 0 for this one.
        progress: Wraps the iteration, given its length, to show how far it is.

    Returns:
        One check a group, in the order of the data set.
    """
    infos = list(_tagged(dataset))
    classes = dataset.METAINFO.get("classes") or dataset.metainfo["classes"]
    names = dataset.metainfo["classes"]
    checks: dict[str, DatasetCheck] = {}
    labels: dict[str, list[str]] = {}
    for info in infos:
        group = f"{info.get('dataset')}/{info.get('domain')}"
        if group not in checks:
            expected = expected_count(group, info["img_path"])
            size = IMAGE_SIZES.get(group.split("/")[0])
            checks[group] = DatasetCheck(group, expected=expected, expected_size=size)
            checks[group].pixels = np.zeros(len(names), np.int64)
        checks[group].images += 1
        labels.setdefault(group, []).extend(filter(None, [info.get("seg_map_path")]))
    if limit is not None and limit < len(infos):
        infos = [infos[i] for i in np.linspace(0, len(infos) - 1, limit).astype(int)]
    run = partial(
        _check_one, num_classes=len(classes), ignore_index=getattr(dataset, "ignore_index", 255)
    )
    if workers:
        with ProcessPoolExecutor(workers) as pool:
            results = list(progress(pool.map(run, infos, chunksize=4), len(infos)))
    else:
        results = list(progress(map(run, infos), len(infos)))
    for found in results:
        _record(checks[found.group], found, len(names))
    every = [path for paths in labels.values() for path in paths]
    if checks:
        next(iter(checks.values())).orphans = _orphans(dataset, every)
    return list(checks.values())


def check_loader(
    loader: Mapping,
    limit: int | None = None,
    workers: int = 0,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> tuple[list[DatasetCheck], list[str]]:
    """Checks of all data sets of a config's data loader, and what could not be read at all.

    Args:
        loader: With ``dataset``.
        limit: As for :func:`check_dataset`; so are the others.
    """
    checks, errors = [], []
    for leaf in leaf_datasets(loader["dataset"]):
        try:
            dataset = DATASETS.build(leaf)
        except (OSError, ValueError) as error:
            errors.append(str(error))
            continue
        if len(dataset) == 0:
            errors.append(f"{leaf['type']}: no image below {leaf.get('data_root')}")
            continue
        checks += check_dataset(dataset, limit, workers, progress)
    return checks, errors


def _record(check: DatasetCheck, found: _Found, num_classes: int) -> None:
    if found.size is not None:
        check.sizes[found.size] += 1
    if found.counts is not None:
        check.labelled += 1
        check.pixels += found.counts[:num_classes]
        check.ignored += int(found.counts[num_classes:].sum())
    if found.problem is not None:
        check.problems[found.path] = found.problem
