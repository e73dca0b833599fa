"""MUSES in its native tree."""

import os.path as osp
from collections.abc import Sequence

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from .listing import entries_below, some_of

MUSES_WEATHERS = ("clear", "fog", "rain", "snow")
MUSES_TIMES = ("day", "night")
_SPLITS = ("train", "val", "test")
_HELP = (
    "MUSES keeps its native tree, frame_camera/SPLIT/WEATHER/TIME/*_frame_camera.png and "
    "gt_semantic/SPLIT/WEATHER/TIME/*_gt_labelTrainIds.png; check data_root, or name only the "
    "conditions you have. From gt_panoptic alone, `domino data convert muses` makes gt_semantic."
)


@DATASETS.register_module()
class MUSESDataset(CityscapesDataset):
    """The frame camera of MUSES, with weather and time of day of each image as its domain.

    Every sample carries ``dataset`` and ``domain``, such as ``fog_night``; ``clear_day`` is what
    Cityscapes is. The test split is published without labels in some releases: those of its images
    that have none are for prediction.

    Args:
        weathers: Some of :data:`MUSES_WEATHERS`, or one of them.
        times: Some of :data:`MUSES_TIMES`, or one of them.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset_name: Tag of the samples in results.
        img_suffix: Ending of image names.
        seg_map_suffix: Ending of label names.
        data_prefix: Folders of images and labels below ``data_root``.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        ValueError: If a weather, a time or the split is unknown.
        FileNotFoundError: If the folder of a condition is missing or holds no image.

    Source: Broedermann et al., MUSES, ECCV 2024.
    """

    def __init__(
        self,
        weathers: str | Sequence[str] = MUSES_WEATHERS,
        times: str | Sequence[str] = MUSES_TIMES,
        split: str = "val",
        dataset_name: str = "muses",
        img_suffix: str = "_frame_camera.png",
        seg_map_suffix: str = "_gt_labelTrainIds.png",
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        self.weathers = some_of("weathers", weathers, MUSES_WEATHERS)
        self.times = some_of("times", times, MUSES_TIMES)
        if split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}; got {split!r}")
        self.split = split
        self.dataset_name = dataset_name
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            data_prefix=data_prefix or dict(img_path="frame_camera", seg_map_path="gt_semantic"),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One entry an image, weathers and times in the given order, by name within each."""
        return [e for w in self.weathers for t in self.times for e in self._load(w, t)]

    def _load(self, weather: str, time: str) -> list[dict]:
        below = osp.join(self.split, weather, time)
        labels = osp.join(self.data_prefix.get("seg_map_path") or "", below)
        labelled = self.split != "test" or osp.isdir(labels)
        what = f"MUSES {weather} by {time}: {_HELP}"
        return entries_below(self, below, what, f"{weather}_{time}", labelled)
