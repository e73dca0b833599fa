"""The street world's objects as instances: Cityscapes' instance images and COCO's files.

An instance is what is seen of one thing in one class: a cyclist is a rider and a bicycle, as in
Cityscapes. Shapes: ``H W`` image.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from street_world.files import atomic_write
from street_world.street import CLASSES, LABEL_IDS
from street_world.street.classes import label_ids

__all__ = ["INSTANCE_CLASSES", "coco_file", "instance_ids", "write_coco"]

#: Cityscapes' classes with instances, and two more that the world can tell apart.
INSTANCE_CLASSES = (
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    "traffic light", "traffic sign",
)  # fmt: skip
#: Pixels of the smallest instance.
LEAST_PIXELS = 10


def instance_ids(label: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """As in Cityscapes' ``instanceIds`` images: (H, W) uint16, 1000 * label number + instance.

    Pixels of no instance, and of one that is too small to be marked, have the label number alone.

    Args:
        label: (H, W) training numbers.
        thing: (H, W) which thing is seen, -1 for none.
    """
    ids = label_ids(label).astype(np.uint16)
    for name in INSTANCE_CLASSES:
        index = CLASSES.index(name)
        mine = (label == index) & (thing >= 0)
        found, counts = np.unique(thing[mine], return_counts=True)
        for number, one in enumerate(found[counts >= LEAST_PIXELS]):
            ids[mine & (thing == one)] = 1000 * LABEL_IDS[index] + number
    return ids


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths of a mask (H, W), column by column, the first of zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    starts = np.flatnonzero(np.diff(flat))
    ends = np.concatenate([starts, [mask.size]])
    counts = np.diff(np.concatenate([[0], ends]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def coco_file(frames: Iterable[tuple[str, np.ndarray]]) -> dict:
    """The contents of a COCO file.

    Args:
        frames: File name below the image folder, and :func:`instance_ids`, of each image.
    """
    categories = [{"id": i, "name": name} for i, name in enumerate(INSTANCE_CLASSES, 1)]
    known = {LABEL_IDS[CLASSES.index(c["name"])]: c["id"] for c in categories}
    images: list[dict] = []
    annotations: list[dict] = []
    for number, (name, ids) in enumerate(frames, 1):
        height, width = ids.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for value in np.unique(ids[ids >= 1000]).tolist():
            mask = ids == value
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": known[value // 1000],
                "bbox": list(map(int, box)), "area": int(mask.sum()), "iscrowd": 0,
                "segmentation": _run_lengths(mask),
            })  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(path: Path, frames: Sequence[tuple[str, np.ndarray]]) -> Mapping:
    """Write :func:`coco_file` and return it."""
    content = coco_file(frames)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")
    return content
