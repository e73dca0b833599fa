"""Checking a data set's files before a night of training depends on them.

Shapes: ``N`` classes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath

import numpy as np
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from ..utils import printable
from ..utils.images import walk_files
from .remaining import tagged_infos
from .transforms import LoadCheckedAnnotations, LoadCheckedImage
from .transforms.loading import exif_note
from .wrappers import leaf_datasets

#: Number of images of each split, where the data set's paper or page names one: of one group
#: ('acdc/fog'), or of all groups of a data set together.
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
    "gta5": {"": 24964},  # of 24,966, without the two whose labels have another size
    "synthia": {"": 9400},
    "urbansyn": {"": 7539},
    "muses": {"train": 1500, "val": 250, "test": 750},
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
    "urbansyn": (2048, 1024),
    "muses": (1920, 1080),
}
_SPLITS = {split for counts in IMAGE_COUNTS.values() for split in counts if split}


@dataclass
class DatasetCheck:
    """What was found in one group of a data set.

    Attributes:
        group: ``dataset/domain``.
        classes: The ``N`` class names.
        images: Number of images.
        expected: Number of images of the published split, or ``None`` if not known.
        counted: Number of images to compare with it: those of this group, or of all groups of the
            data set where only their sum is published.
        expected_size: Published width and height, or ``None`` if not known or various.
        labelled: Number of images with a readable label.
        sizes: How many images there are of each (width, height).
        pixels: ``(N,)`` label pixels of each class; 255 apart in ``ignored``.
        problems: Message by file.
        notes: What to look at, by file: it may be right.
        orphans: Labels without an image.
    """

    group: str
    classes: tuple[str, ...] = ()
    images: int = 0
    expected: int | None = None
    counted: int = 0
    expected_size: tuple[int, int] | None = None
    labelled: int = 0
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    @property
    def count_is_right(self) -> bool:
        return self.expected is None or self.counted == self.expected

    @property
    def sizes_are_right(self) -> bool:
        return self.expected_size is None or set(self.sizes) <= {self.expected_size}

    @property
    def absent(self) -> list[str]:
        """Names of the classes that no label of the group shows; none if nothing is labelled."""
        if not self.labelled:
            return []
        return [name for name, count in zip(self.classes, self.pixels, strict=True) if not count]

    @property
    def ok(self) -> bool:
        return not self.problems and not self.orphans and self.images > 0


def published_count(group: str, folders: str) -> tuple[int | None, bool]:
    """Number of images of a published split, and whether it is of the group alone or of all."""
    alone = group in IMAGE_COUNTS
    counts = IMAGE_COUNTS.get(group) or IMAGE_COUNTS.get(group.split("/")[0]) or {}
    split = next((part for part in PurePath(folders).parts if part in _SPLITS), "")
    return counts.get(split, counts.get("")), alone


@dataclass(frozen=True)
class _Found:
    group: str
    path: str
    size: tuple[int, int] | None = None
    counts: np.ndarray | None = None
    problem: str | None = None
    note: str | None = None


def _group(info: dict) -> str:
    return f"{info.get('dataset')}/{info.get('domain')}"


def _check_one(info: dict, num_classes: int, ignore_index: int) -> _Found:
    group, path = _group(info), info["img_path"]
    size = counts = problem = note = None
    try:
        sample = LoadCheckedImage().transform(dict(info, seg_fields=[]))
        size = sample["img_shape"][::-1]
        load_label = LoadCheckedAnnotations(num_classes, ignore_index, unlabelled="skip")
        sample = load_label.transform(sample)
        if "gt_seg_map" in sample:
            counts = np.bincount(sample["gt_seg_map"].ravel(), minlength=256)
            note = exif_note(sample)
            if not counts[:num_classes].any():
                note = f"{printable(info['seg_map_path'])} shows no class: all of it is ignored"
    except (ValueError, OSError) as error:
        problem = str(error)
    return _Found(group, path, size, counts, problem, note)


def _orphans(dataset: BaseDataset, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Labels that belong to no image, by the group whose labels lie nearest."""
    if not labels or dataset.ann_file or dataset._indices is not None:
        return {}  # a choice of images leaves others out on purpose
    suffix = getattr(dataset, "seg_map_suffix", ".png")
    left_out = {stem + suffix for stem in getattr(dataset, "exclude", ())}
    known_folders = {os.path.dirname(path): group for path, group in sorted(labels.items())}
    found: dict[str, list[str]] = {}
    for folder in getattr(dataset, "label_folders", [dataset.data_prefix["seg_map_path"]]):
        for name in walk_files(folder) if os.path.isdir(folder) else ():
            path = os.path.normpath(os.path.join(folder, name))
            if not name.endswith(suffix) or path in labels or name in left_out:
                continue
            parts = PurePath(path).parts
            nearest = max(known_folders, key=lambda other: _shared(parts, PurePath(other).parts))
            found.setdefault(known_folders[nearest], []).append(path)
    return found


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many leading parts two paths share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


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
    """
    infos = list(tagged_infos(dataset))
    checks = _groups(dataset, infos)
    labels = {
        os.path.normpath(info["seg_map_path"]): _group(info)
        for info in infos
        if info.get("seg_map_path")
    }
    if limit is not None and limit < len(infos):
        infos = [infos[i] for i in np.linspace(0, len(infos) - 1, limit).astype(int)]
    # Of the files, before any selection of classes.
    file_classes = dataset.METAINFO.get("classes") or dataset.metainfo["classes"]
    run = partial(
        _check_one,
        num_classes=len(file_classes),
        ignore_index=getattr(dataset, "ignore_index", 255),
    )
    if workers:
        with ProcessPoolExecutor(workers) as pool:
            results = list(progress(pool.map(run, infos, chunksize=4), len(infos)))
    else:
        results = list(progress(map(run, infos), len(infos)))
    for found in results:
        _record(checks[found.group], found)
    for group, paths in _orphans(dataset, labels).items():
        checks[group].orphans = paths
    return list(checks.values())


def _groups(dataset: BaseDataset, infos: Iterable[dict]) -> dict[str, DatasetCheck]:
    """An empty check for each group, with the number of its images and of those published."""
    names = tuple(dataset.metainfo["classes"])
    root = os.path.abspath(dataset.data_root or os.path.dirname(dataset.data_prefix["img_path"]))
    checks: dict[str, DatasetCheck] = {}
    of_all: dict[str, list[DatasetCheck]] = {}
    for info in infos:
        group = _group(info)
        if group not in checks:
            below = os.path.relpath(os.path.abspath(info["img_path"]), root)
            expected, alone = published_count(group, below)
            name = group.split("/")[0]
            check = DatasetCheck(group, names, expected=expected)
            check.expected_size = IMAGE_SIZES.get(name)
            check.pixels = np.zeros(len(names), np.int64)
            checks[group] = check
            of_all.setdefault(group if alone else name, []).append(check)
        checks[group].images += 1
    for together in of_all.values():
        for check in together:
            check.counted = sum(each.images for each in together)
    return checks


def check_loader(
    loader: Mapping,
    limit: int | None = None,
    workers: int = 0,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> tuple[list[DatasetCheck], list[str]]:
    """Checks of all data sets of a config's data loader, and what could not be read at all."""
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


def _record(check: DatasetCheck, found: _Found) -> None:
    if found.size is not None:
        check.sizes[found.size] += 1
    if found.counts is not None:
        num_classes = len(check.classes)
        check.labelled += 1
        check.pixels += found.counts[:num_classes]
        check.ignored += int(found.counts[num_classes:].sum())
    if found.problem is not None:
        check.problems[found.path] = found.problem
    if found.note is not None:
        check.notes[found.path] = found.note
