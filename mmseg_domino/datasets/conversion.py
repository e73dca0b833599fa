"""Labels of other data sets on the 19 classes of Cityscapes.

Shapes: ``H W`` pixels. A table is a ``(256,)`` uint8 array of the trainId of each label value; 255
means ignored.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mmseg.datasets import CityscapesDataset, MapillaryDataset_v1, MapillaryDataset_v2
from tqdm import tqdm

from ..utils import read_mapping, resolve_below
from ..utils.images import check_image, open_image, write_image

IGNORED = 255
TRAIN_ID_SUFFIX = "_labelTrainIds.png"
CLASSES = CityscapesDataset.METAINFO["classes"]

#: labelIds of Cityscapes (and GTA5). All others, up to 34, are ignored.
CITYSCAPES_LABELS = {
    "road": (7,), "sidewalk": (8,), "building": (11,), "wall": (12,), "fence": (13,), "pole": (17,),
    "traffic light": (19,), "traffic sign": (20,), "vegetation": (21,), "terrain": (22,),
    "sky": (23,), "person": (24,), "rider": (25,), "car": (26,), "truck": (27,), "bus": (28,),
    "train": (31,), "motorcycle": (32,), "bicycle": (33,),
}  # fmt: skip
#: Label values of SYNTHIA-RAND-CITYSCAPES, 0 to 22. Terrain, truck and train have values but no
#: pixels.
SYNTHIA_LABELS = {
    "road": (3,), "sidewalk": (4,), "building": (2,), "wall": (21,), "fence": (5,), "pole": (7,),
    "traffic light": (15,), "traffic sign": (9,), "vegetation": (6,), "terrain": (16,),
    "sky": (1,), "person": (10,), "rider": (17,), "car": (8,), "truck": (18,), "bus": (19,),
    "train": (20,), "motorcycle": (12,), "bicycle": (11,),
}  # fmt: skip
# Mapillary's classes by name, in the grouping of the field's synthetic-to-real comparisons.
_MAPILLARY_V1 = {
    "road": ("Road", "Lane Marking - General", "Manhole"),
    "sidewalk": ("Curb", "Sidewalk"),
    "building": ("Building",),
    "wall": ("Wall",),
    "fence": ("Fence",),
    "pole": ("Pole", "Utility Pole"),
    "traffic light": ("Traffic Light",),
    "traffic sign": ("Traffic Sign (Front)",),
    "vegetation": ("Vegetation",),
    "terrain": ("Terrain",),
    "sky": ("Sky",),
    "person": ("Person",),
    "rider": ("Bicyclist", "Motorcyclist", "Other Rider"),
    "car": ("Car",),
    "truck": ("Truck",),
    "bus": ("Bus",),
    "train": ("On Rails",),
    "motorcycle": ("Motorcycle",),
    "bicycle": ("Bicycle",),
}
# Release 2.0 splits some of these classes; the parts go where the whole went.
_MAPILLARY_V2_PARTS = {
    "road": lambda name: (
        name.startswith(("Lane Marking - ", "Lane Marking (only) - ")) and "Crosswalk" not in name
    ),
    "pole": lambda name: name == "Pole Group",
    "traffic light": lambda name: name.startswith("Traffic Light - "),
    "traffic sign": lambda name: (
        name == "Traffic Sign - Parking"
        or (name.startswith("Traffic Sign - ") and name.endswith("(Front)"))
    ),
    "person": lambda name: name == "Person Group",
}
# WildDash 2's classes by name beyond those named as in Cityscapes, after its unified label policy.
_WILDDASH_EXTRA = {
    "road": (
        "roadmarking", "manhole", "pothole", "tramtrack", "bikelane", "pedestrianarea",
        "catchbasin", "crosswalkplain", "crosswalkzebra", "servicelane",
    ),
    "sidewalk": ("curb", "curbcut", "bikelanesidewalk", "manholesidewalk"),
    "wall": ("otherbarrier",),
    "pole": ("utilitypole", "trafficsignframe"),
    "terrain": ("curbterrain",),
    "rider": ("motorcyclist", "bicyclist", "otherrider"),
    "car": ("van",),
    "truck": ("pickup",),
    "train": ("onrails",),
    "motorcycle": ("autorickshaw",),
}  # fmt: skip


@dataclass(frozen=True)
class LabelTable:
    """The trainId of each label value.

    Attributes:
        train_ids: ``(256,)`` uint8; 255 for ignored ones.
        values: Number of values that the data set has; a file with another one is not its label.
    """

    train_ids: np.ndarray
    values: int

    def apply(self, label: np.ndarray, path: str | os.PathLike = "the label") -> np.ndarray:
        """Convert ``(H, W)`` label values to uint8 trainIds."""
        if label.size and int(label.max()) >= self.values:
            raise ValueError(
                f"{path} holds the value {int(label.max())}, expected 0 to {self.values - 1}; is "
                "it of another data set or release, or converted already?"
            )
        return self.train_ids[label]


def label_table(labels: Mapping[str, Iterable[int]], values: int) -> LabelTable:
    """A table from the label values of each class."""
    train_ids = np.full(256, IGNORED, dtype=np.uint8)
    for name, members in labels.items():
        for value in members:
            train_ids[value] = CLASSES.index(name)
    return LabelTable(train_ids, values)


def mapillary_labels(version: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Label values of Mapillary Vistas 1.2 or 2.0 by Cityscapes class, and their number."""
    if version not in ("1.2", "2.0"):
        raise ValueError(f"version must be '1.2' or '2.0', got {version!r}")
    second = version == "2.0"
    names = (MapillaryDataset_v2 if second else MapillaryDataset_v1).METAINFO["classes"]
    parts = _MAPILLARY_V2_PARTS if second else {}
    labels = {}
    for target, members in _MAPILLARY_V1.items():
        part_of = parts.get(target, lambda name: False)
        labels[target] = tuple(
            value for value, name in enumerate(names) if name in members or part_of(name)
        )
    return labels, len(names)


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def wilddash_table(categories: Sequence[Mapping]) -> LabelTable:
    """A table from the categories of a COCO panoptic file, as WildDash 2 and MUSES have them.

    Classes are told by name, not by id; spaces, hyphens and case do not matter.

    Args:
        categories: Mappings with ``id`` (0 to 254) and ``name``.
    """
    wanted = {}
    for name in CLASSES:
        for alias in (name, *_WILDDASH_EXTRA.get(name, ())):
            wanted[_plain(alias)] = name
    labels: dict[str, list[int]] = {name: [] for name in CLASSES}
    for category in categories:
        target = wanted.get(_plain(category["name"]))
        if target is not None:
            labels[target].append(category["id"])
    missing = [name for name, ids in labels.items() if not ids]
    if missing:
        raise ValueError(f"the categories of the panoptic file lack {', '.join(missing)}")
    return label_table(labels, max(category["id"] for category in categories) + 1)


def decode_single_channel(path: str | os.PathLike) -> np.ndarray:
    """``(H, W)`` values of a grey or palette PNG."""
    label = np.array(open_image(path))
    if label.ndim != 2:
        raise ValueError(
            f"{path} has shape {label.shape}: it is painted in colours, expected one value a pixel"
        )
    return label


def decode_last_channel(path: str | os.PathLike) -> np.ndarray:
    """``(H, W)`` values of SYNTHIA's 16-bit labels: the class is in OpenCV's last channel."""
    import cv2

    content = Path(path).read_bytes()
    check_image(content, path)
    label = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if label is None:
        raise ValueError(f"{path} cannot be decoded as an image")
    return label if label.ndim == 2 else label[:, :, -1]


def decode_panoptic(path: str | os.PathLike, categories: Mapping[int, int]) -> np.ndarray:
    """``(H, W)`` category ids of a COCO panoptic PNG (segment id = R + 256 G + 65536 B).

    Segments that ``categories`` lacks are category 0.
    """
    channels = np.array(open_image(path))
    if channels.ndim != 3 or channels.shape[2] < 3:
        raise ValueError(f"{path} has shape {channels.shape}, expected three channels")
    segments = channels[:, :, :3].astype(np.uint32) @ np.array([1, 256, 65536], dtype=np.uint32)
    present, inverse = np.unique(segments, return_inverse=True)
    ids = np.array([categories.get(int(s), 0) for s in present], dtype=np.uint8)
    return ids[inverse].reshape(segments.shape)


#: A label file, where its trainIds go, and what reads it.
Job = tuple[Path, Path, Callable[[Path], np.ndarray]]


def _convert(job: Job, table: LabelTable) -> None:
    source, target, decode = job
    try:
        label = decode(source)
    except OSError as error:
        raise ValueError(f"{source} cannot be decoded as an image: {error}") from error
    write_image(target, table.apply(label, source))


def convert_labels(jobs: Sequence[Job], table: LabelTable, workers: int, overwrite: bool) -> int:
    """Convert label files, or those that were not yet; how many that were."""
    todo = [job for job in jobs if overwrite or not job[1].is_file()]
    run = partial(_convert, table=table)
    with ProcessPoolExecutor(workers) if workers else nullcontext() as pool:
        done = pool.map(run, todo, chunksize=8) if pool else map(run, todo)
        for _ in tqdm(done, total=len(todo), unit="label", desc="converting"):
            pass
    return len(todo)


def panoptic_labels(
    file: Path, folder: Path, target: Path, ending: str = "", new_ending: str = ""
) -> tuple[list[Job], LabelTable]:
    """The COCO panoptic PNGs that a file lists, and the table of its categories' names.

    The labels' names end in ``new_ending`` for ``ending``.
    """
    panoptic = read_mapping(file)
    lacking = {"categories", "annotations"} - set(panoptic)
    if lacking:
        raise ValueError(f"{file} lacks {', '.join(sorted(lacking))}")
    jobs = []
    for annotation in panoptic["annotations"]:
        categories = {s["id"]: s["category_id"] for s in annotation["segments_info"]}
        name = annotation["file_name"]
        renamed = name.removesuffix(ending) + new_ending
        jobs.append((
            resolve_below(folder, name, file),
            resolve_below(target, renamed, file, links="last"),
            partial(decode_panoptic, categories=categories),
        ))  # fmt: skip
    return jobs, wilddash_table(panoptic["categories"])
