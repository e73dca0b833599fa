"""How many pixels of each class each label of a data set has.

Shapes: ``M`` images, ``N`` classes.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmseg.datasets.transforms import LoadAnnotations
from tqdm import tqdm

from ..utils.tensors import read_tensors, write_tensors
from .mixture import leaf_sample

_FORMAT = "mmseg_domino.class_pixels/1"


def load_class_pixels(dataset, file: str | Path) -> np.ndarray:
    """Pixels of each class in each label of a data set, ``(M, N)`` int64, kept in a file.

    Labels are read as the data set's own pipeline reads them. If the file is missing, the main
    process makes it, about 10 ms an image of 2048 x 1024, and the others wait.
    """
    file = Path(file)
    if not file.is_file() and is_main_process():
        _write(dataset, file)
    barrier()
    tensors, metadata = read_tensors(file)
    if metadata != _describe(dataset):
        raise ValueError(
            f"{file} was counted for other labels or classes than this data set's "
            f"({metadata.get('num_images')} images, {metadata.get('classes')}); delete it to have "
            "it made again, or give each data set a file of its own"
        )
    return tensors["pixels"].numpy()


def _describe(dataset) -> dict:
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        # Its last folders name a label wherever the data set lies.
        path = Path(dataset.get_data_info(index)["seg_map_path"])
        digest.update("/".join(path.parts[-3:]).encode() + b"\n")
    return {
        "format": _FORMAT,
        "classes": list(dataset.metainfo["classes"]),
        "num_images": len(dataset),
        "labels_sha256": digest.hexdigest(),
    }


def _write(dataset, file: Path) -> None:
    num_classes = len(dataset.metainfo["classes"])
    pixels = np.zeros((len(dataset), num_classes), np.int64)
    loaders: dict[int, LoadAnnotations] = {}
    for index in tqdm(range(len(dataset)), desc="counting classes", unit="label"):
        leaf, place = leaf_sample(dataset, index)
        if id(leaf) not in loaders:
            loaders[id(leaf)] = _label_loader(leaf)
        results = loaders[id(leaf)](leaf.get_data_info(place))
        label = results["gt_seg_map"].ravel()
        pixels[index] = np.bincount(label, minlength=num_classes)[:num_classes]
    write_tensors(file, {"pixels": torch.from_numpy(pixels)}, _describe(dataset))


def _label_loader(dataset) -> LoadAnnotations:
    for transform in dataset.pipeline.transforms:
        if isinstance(transform, LoadAnnotations):
            return transform
    raise ValueError(
        f"the pipeline of {type(dataset).__name__} loads no labels (LoadAnnotations), so the "
        "classes of its images cannot be counted"
    )
