"""CamVid, sorted by the light it was filmed in."""

import os.path as osp
from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .listing import entries_below


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with 11 classes, each recording's light recorded as its domain.

    The tree is ``img/CONDITION/SPLIT/NAME.jpg`` and ``label/CONDITION/SPLIT/NAME.png``. Labels are
    0 to 10; 11 is void and becomes ``ignore_index``. Every sample carries ``dataset`` and
    ``domain``.

    Args:
        conditions: Folders to read, or one of them; each is a domain.
        split: Folder within each condition.
        dataset_name: Tag of the samples in results.
        data_prefix: Folders of images and labels below ``data_root``.
        img_suffix: Ending of image names.
        seg_map_suffix: Ending of label names.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If a condition is missing or holds no image.
        ValueError: If no condition is given.

    Source: Brostow et al., Semantic Object Classes in Video, Pattern Recognition Letters 2009; the
    11 classes are those of the SegNet tutorial.
    """

    METAINFO = dict(
        classes=(
            "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
            "pedestrian", "bicyclist",
        ),
        palette=[
            [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
            [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
            [0, 128, 192],
        ],
    )  # fmt: skip
    #: Label value of pixels without a class.
    VOID = 11

    def __init__(
        self,
        conditions: str | Sequence[str] = ("day", "dusk"),
        split: str = "val",
        dataset_name: str = "camvid",
        data_prefix: dict | None = None,
        img_suffix: str = ".jpg",
        seg_map_suffix: str = ".png",
        **kwargs,
    ) -> None:
        self.conditions = (conditions,) if isinstance(conditions, str) else tuple(conditions)
        if not self.conditions:
            raise ValueError("conditions must name at least one folder, such as 'day'")
        self.split = split
        self.dataset_name = dataset_name
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            data_prefix=data_prefix or dict(img_path="img", seg_map_path="label"),
            **kwargs,
        )

    @property
    def label_folders(self) -> list[str]:
        """Where the labels of this split are."""
        labels = self.data_prefix["seg_map_path"]
        return [osp.join(labels, condition, self.split) for condition in self.conditions]

    def load_data_list(self) -> list[dict]:
        """One entry an image, conditions in the given order, images by name within each."""
        entries = []
        for condition in self.conditions:
            what = f"CamVid {condition}: the tree is img/CONDITION/SPLIT/NAME.jpg below data_root."
            folder = osp.join(condition, self.split)
            entries += entries_below(self, folder, what, condition)
        for entry in entries:
            entry["label_map"] = {**(self.label_map or {}), self.VOID: self.ignore_index}
        return entries
