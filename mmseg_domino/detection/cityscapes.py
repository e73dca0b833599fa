"""Cityscapes' polygons to COCO's instances.

Objects are drawn as Cityscapes' own scripts draw them, a later one over the earlier, so that a mask
is what is seen of the object. Shapes: ``H W`` the image.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ..datasets.conversion import CITYSCAPES_LABELS
from ..utils import write_text
from ..utils.text import parse_json
from .coco_dataset import CITYSCAPES_THINGS

_POLYGONS = "_gtFine_polygons.json"
_IMAGE = "_leftImg8bit.png"
_GROUP = "group"


def instances_of(polygons: dict) -> list[tuple[str, bool, np.ndarray]]:
    """Name, whether it is a group, and mask ``(H, W)`` of every thing that is seen.

    Args:
        polygons: What a ``*_gtFine_polygons.json`` holds.
    """
    size = (polygons["imgWidth"], polygons["imgHeight"])
    canvas = Image.new("I", size)
    draw = ImageDraw.Draw(canvas)
    things: dict[int, tuple[str, bool]] = {}
    for number, item in enumerate(polygons["objects"], 1):
        name = item["label"]
        # Cityscapes draws no licence plates: they belong to their cars.
        if item.get("deleted") or name == "license plate":
            continue
        group = name.endswith(_GROUP)
        name = name.removesuffix(_GROUP)
        draw.polygon([tuple(corner) for corner in item["polygon"]], fill=number)
        if name in CITYSCAPES_THINGS:
            things[number] = name, group
    drawn = np.asarray(canvas)
    seen = set(np.unique(drawn).tolist())
    return [(*things[number], drawn == number) for number in sorted(things.keys() & seen)]


def convert_instances(root: str | Path, splits: tuple[str, ...] = ("train", "val")) -> list[Path]:
    """Write ``annotations/instancesonly_filtered_gtFine_SPLIT.json`` below Cityscapes' root.

    The names are those that mmdet's configs use. Images without things are kept; groups are crowds.

    Args:
        root: The folder that holds ``gtFine``.
        splits: Some of ``train``, ``val``.

    Returns:
        The files.

    Raises:
        FileNotFoundError: If a split has no polygons.
        ValueError: If a file of polygons cannot be read; names it.
    """
    return [_convert_split(Path(root), split) for split in splits]


def _convert_split(root: Path, split: str) -> Path:
    files = sorted((root / "gtFine" / split).glob(f"*/[!.]*{_POLYGONS}"))
    if not files:
        raise FileNotFoundError(f"{root / 'gtFine' / split} has no file *{_POLYGONS}")
    numbers = {name: CITYSCAPES_LABELS[name][0] for name in CITYSCAPES_THINGS}
    images, annotations = [], []
    for number, file in enumerate(tqdm(files, desc=split, unit="image", disable=None), 1):
        try:
            polygons = parse_json(file.read_bytes())
            found = instances_of(polygons)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} holds no polygons of Cityscapes ({error!r})") from error
        name = file.name.removesuffix(_POLYGONS) + _IMAGE
        images.append(dict(id=number, file_name=f"{file.parent.name}/{name}",
                           width=polygons["imgWidth"], height=polygons["imgHeight"]))  # fmt: skip
        for label, group, mask in found:
            mask = mask.astype(np.uint8)
            runs = coco_mask.encode(np.asfortranarray(mask))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=number, category_id=numbers[label],
                iscrowd=int(group), bbox=list(cv2.boundingRect(mask)), area=int(mask.sum()),
                segmentation=dict(size=runs["size"], counts=runs["counts"].decode("ascii")),
            ))  # fmt: skip
    categories = [dict(id=number, name=name) for name, number in numbers.items()]
    content = dict(images=images, annotations=annotations, categories=categories)
    target = root / "annotations" / f"instancesonly_filtered_gtFine_{split}.json"
    write_text(target, json.dumps(content))
    return target
