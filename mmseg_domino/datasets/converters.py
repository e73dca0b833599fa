"""Which labels each data set converts, and where the trainId labels go."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..utils.images import walk_files
from .conversion import (
    CITYSCAPES_LABELS,
    SYNTHIA_LABELS,
    TRAIN_ID_SUFFIX,
    convert_labels,
    decode_last_channel,
    decode_single_channel,
    label_table,
    mapillary_labels,
    panoptic_labels,
)

_Pairs = list[tuple[Path, Path]]


def _beside(folder: Path, target: Path | None = None) -> _Pairs:
    return [
        (path, (target or folder) / (path.stem + TRAIN_ID_SUFFIX))
        for path in sorted(folder.glob("[!.]*.png"))
        if not path.name.endswith(TRAIN_ID_SUFFIX)
    ]


def _cityscapes(root: Path) -> _Pairs:
    ending = "_labelIds.png"
    folder = root / "gtFine"
    return [
        (folder / name, folder / (name[: -len(ending)] + TRAIN_ID_SUFFIX))
        for name in (walk_files(folder) if folder.is_dir() else ())
        if name.endswith(ending)
    ]


def _mapillary(root: Path, version: str, splits: Sequence[str]) -> _Pairs:
    """Of release 1.2 from v1.2/labels (newer archives) or labels, to labels; 2.0 in place."""
    pairs = []
    for split in splits:
        folder = root / split / f"v{version}" / "labels"
        target = root / split / "labels" if version == "1.2" else folder
        if version == "1.2" and not folder.is_dir():
            folder = target
        pairs += _beside(folder, target)
    return pairs


#: Pairs of files, decoder and table of the data sets that keep a class number in each pixel.
CONVERTERS: dict[str, tuple[Callable, Callable, Callable]] = {
    "cityscapes": (
        lambda root, *_: _cityscapes(root),
        decode_single_channel,
        lambda _: label_table(CITYSCAPES_LABELS, values=34),
    ),
    # Cityscapes' labelIds, and 34 for licence plates.
    "gta5": (
        lambda root, *_: _beside(root / "labels"),
        decode_single_channel,
        lambda _: label_table(CITYSCAPES_LABELS, values=35),
    ),
    "mapillary": (
        _mapillary,
        decode_single_channel,
        lambda version: label_table(*mapillary_labels(version)),
    ),
    "synthia": (
        lambda root, *_: _beside(root / "GT" / "LABELS"),
        decode_last_channel,
        lambda _: label_table(SYNTHIA_LABELS, values=23),
    ),
}


def convert_dataset(
    name: str,
    root: str | os.PathLike,
    out: str | os.PathLike | None = None,
    version: str = "1.2",
    splits: Sequence[str] = ("validation",),
    workers: int = 0,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Make trainId labels of a data set's original ones.

    Returns:
        How many were written, and how many there are.

    Raises:
        FileNotFoundError: If there are no original labels.
        ValueError: If a label cannot be read, or is of another data set; names it.
    """
    root = Path(root)
    out = root if out is None else Path(out)
    if name == "wilddash2":
        files, folder, target, renamed = [root / "panoptic.json"], "panoptic", "labelTrainIds", ()
    elif name == "muses":
        files = sorted((root / "gt_panoptic").glob("[!.]*.json"))
        folder, target = "gt_panoptic", "gt_semantic"
        renamed = ("_gt_panoptic.png", "_gt_labelTrainIds.png")
    else:
        files = []
    batches = [panoptic_labels(file, root / folder, out / target, *renamed) for file in files]
    if name in CONVERTERS:
        find, decode, table = CONVERTERS[name]
        pairs = find(root, version, splits)
        jobs = [(path, out / new.relative_to(root), decode) for path, new in pairs]
        batches = [(jobs, table(version))]
    total = sum(len(jobs) for jobs, _ in batches)
    if not total:
        raise FileNotFoundError(f"there are no original labels of {name} below {root}")
    return sum(convert_labels(*batch, workers, overwrite) for batch in batches), total
