"""Which labels each data set converts, and where the trainId labels go."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..utils import read_mapping
from ..utils.images import walk_files
from .conversion import (
    CITYSCAPES_LABELS,
    SYNTHIA_LABELS,
    TRAIN_ID_SUFFIX,
    convert_labels,
    convert_panoptic,
    decode_last_channel,
    decode_single_channel,
    label_table,
    mapillary_labels,
    wilddash_table,
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
    """Make trainId labels of a data set's original ones."""
    root = Path(root)
    out = root if out is None else Path(out)
    if name == "wilddash2":
        return _convert_panoptic_file(
            root / "panoptic.json", root / "panoptic", out / "labelTrainIds", workers, overwrite
        )
    if name == "muses":
        return _convert_muses(root, out, workers, overwrite)
    find, decode, table = CONVERTERS[name]
    pairs = [(path, out / new.relative_to(root)) for path, new in find(root, version, splits)]
    if not pairs:
        raise FileNotFoundError(f"there are no original labels of {name} below {root}")
    written = convert_labels(pairs, decode, table(version), workers, overwrite)
    return written, len(pairs)


def _convert_panoptic_file(
    file: Path, folder: Path, target: Path, workers: int, overwrite: bool, rename: tuple = ()
) -> tuple[int, int]:
    panoptic = read_mapping(file)
    lacking = {"categories", "annotations"} - set(panoptic)
    if lacking:
        raise ValueError(f"{file} lacks {', '.join(sorted(lacking))}")
    # Classes are told by the names that the file itself has for its categories.
    table = wilddash_table(panoptic["categories"])
    annotations = panoptic["annotations"]
    written = convert_panoptic(
        annotations, folder, target, table, workers, overwrite, file, *rename
    )
    return written, len(annotations)


def _convert_muses(root: Path, out: Path, workers: int, overwrite: bool) -> tuple[int, int]:
    """``gt_panoptic/SPLIT.json`` and its PNGs to ``gt_semantic/SPLIT/...``."""
    files = sorted((root / "gt_panoptic").glob("[!.]*.json"))
    if not files:
        raise FileNotFoundError(f"there is no gt_panoptic/SPLIT.json of muses below {root}")
    counts = [
        _convert_panoptic_file(
            file, root / "gt_panoptic", out / "gt_semantic", workers, overwrite,
            ("_gt_panoptic.png", "_gt_labelTrainIds.png"),
        )
        for file in files
    ]  # fmt: skip
    written, total = zip(*counts, strict=True)
    return sum(written), sum(total)
