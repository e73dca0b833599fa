"""The labelled images that new ones are made from."""

import os
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
from mmseg.registry import DATASETS, TRANSFORMS

from ..datasets import leaf_datasets
from ..utils.images import read_image
from .colours import check_label


class LabelledImages:
    """Images and labels of a config's data sets, whatever their pipelines do for training.

    Args:
        dataset: Config of a data set or of a wrapper around several (``ConcatDataset``, ...).

    Raises:
        ValueError: If an image has no label, two share a name, the classes of several data sets
            differ, or the labels are plainly of another kind.
    """

    def __init__(self, dataset: Mapping) -> None:
        self._samples: list[tuple[str, dict, object]] = []
        self.classes: tuple[str, ...] = ()
        self.palette: list[list[int]] = []
        for leaf in leaf_datasets(dataset):
            self._add(leaf)
        names = [name for name, _, _ in self._samples]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"two source images are named {twice!r}; generate from each data set into a "
                "folder of its own"
            )

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        """Path of an image below its image folder, without the data set's suffix."""
        return self._samples[index][0]

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image ``(H, W, 3)`` uint8 RGB and label ``(H, W)`` uint8.

        Raises:
            LabelValuesError: If the label has values that are no class.
            ValueError: If a file is damaged, or the two differ in size.
            OSError: If a file is missing.
        """
        _, info, load_label = self._samples[index]
        image = read_image(info["img_path"])
        try:
            label = load_label(dict(info, seg_fields=[]))["gt_seg_map"]
        except (OSError, ValueError):
            raise
        except Exception as error:  # a damaged file may raise anything in a stock loader
            raise ValueError(f"{info['seg_map_path']} cannot be read: {error}") from error
        check_label(label, len(self.classes))
        if image.shape[:2] != label.shape:
            raise ValueError(
                f"the image is {image.shape[:2]} and its label {label.shape} in size: "
                f"{info['seg_map_path']}"
            )
        return image, label

    def image_path(self, index: int) -> str:
        return self._samples[index][1]["img_path"]

    def label_file(self, index: int) -> str | None:
        """The label's file if its values are the class numbers, else ``None``."""
        info = self._samples[index][1]
        as_is = not info.get("reduce_zero_label") and not info.get("label_map")
        path = info["seg_map_path"]
        return path if as_is and path.endswith(".png") and os.path.isfile(path) else None

    def _add(self, leaf: Mapping) -> None:
        # Images are read here; a training pipeline may need stores that are not there yet.
        dataset = DATASETS.build({**leaf, "pipeline": []})
        classes = tuple(dataset.metainfo["classes"])
        if self.classes and classes != self.classes:
            raise ValueError(f"the data sets have different classes: {self.classes}, {classes}")
        self.classes, self.palette = classes, [list(c) for c in dataset.metainfo["palette"]]
        load_label = _label_loader(leaf)
        folder = dataset.data_prefix["img_path"]
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            if not info.get("seg_map_path"):
                raise ValueError(f"{info['img_path']} has no label to generate from")
            name = PurePath(os.path.relpath(info["img_path"], folder)).as_posix()
            name = name.removesuffix(getattr(dataset, "img_suffix", ""))
            self._samples.append((name, info, load_label))


def _label_loader(leaf: Mapping):
    """The transform with which the data set's own pipeline reads labels."""
    for step in leaf.get("pipeline", ()):
        if "Annotations" in str(step["type"]):
            return TRANSFORMS.build(dict(step))
    return TRANSFORMS.build(dict(type="LoadAnnotations"))
