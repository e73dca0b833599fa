"""MUSES in its native tree."""

import os.path as osp
from collections.abc import Sequence

from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from .listing import list_stems

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
        self.weathers = _some_of(weathers, MUSES_WEATHERS, "weathers")
        self.times = _some_of(times, MUSES_TIMES, "times")
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
        folder = osp.join(self.data_prefix["img_path"], below)
        labels = osp.join(self.data_prefix.get("seg_map_path") or "", below)
        stems = list_stems(
            folder, self.img_suffix, f"MUSES {weather} by {time}: {_HELP}", self.backend_args
        )
        labelled = self.split != "test" or osp.isdir(labels)
        return [
            dict(
                img_path=osp.join(folder, stem + self.img_suffix),
                seg_map_path=osp.join(labels, stem + self.seg_map_suffix) if labelled else None,
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
                dataset=self.dataset_name,
                domain=f"{weather}_{time}",
            )
            for stem in stems
        ]


def _some_of(given: str | Sequence[str], known: Sequence[str], name: str) -> tuple[str, ...]:
    given = (given,) if isinstance(given, str) else tuple(given)
    if not given or len(set(given)) < len(given) or set(given) - set(known):
        raise ValueError(f"{name} must be some of {', '.join(known)}, each once; got {list(given)}")
    return given
