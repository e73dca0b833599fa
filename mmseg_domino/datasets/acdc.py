"""ACDC in its native tree."""

import os.path as osp
from collections.abc import Sequence

from mmengine import fileio
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from .listing import entries_below, some_of

ACDC_CONDITIONS = ("fog", "night", "rain", "snow")
_SPLITS = ("train", "val", "test")
_HELP = (
    "ACDC keeps its native tree, rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png and "
    "gt/CONDITION/SPLIT/SEQUENCE/*_gt_labelTrainIds.png; check data_root, or name only the "
    "conditions you have. domino data check looks at the whole tree."
)


@DATASETS.register_module()
class ACDCDataset(CityscapesDataset):
    """ACDC, with the condition of each image recorded as its domain.

    Every sample carries ``dataset`` and ``domain``. The test split has no labels, and of the
    reference images only a part has: without one, ``seg_map_path`` is ``None``, for prediction.

    Args:
        conditions: Some of :data:`ACDC_CONDITIONS`, or one of them.
        split: ``'train'``, ``'val'`` or ``'test'``.
        reference: Read the reference images (the same places in clear weather by day) instead;
            their domain is ``clear_day``.
        labelled_only: Leave out images without a label, for evaluation.
        dataset_name: Tag of the samples in results; ``None`` for ``'acdc'``, or
            ``'acdc_reference'`` for reference images.
        img_suffix: Ending of image names; ``None`` for ACDC's own.
        seg_map_suffix: Ending of label names; ``None`` for ACDC's own.
        data_prefix: Folders of images and labels below ``data_root``.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        ValueError: If a condition or the split is unknown.
        FileNotFoundError: If the folder of a condition is missing or holds no image, or there is
            no label at all and ``labelled_only`` asks for them.

    Source: Sakaridis et al., ACDC, ICCV 2021.
    """

    def __init__(
        self,
        conditions: str | Sequence[str] = ACDC_CONDITIONS,
        split: str = "val",
        reference: bool = False,
        labelled_only: bool = False,
        dataset_name: str | None = None,
        img_suffix: str | None = None,
        seg_map_suffix: str | None = None,
        data_prefix: dict | None = None,
        **kwargs,
    ) -> None:
        self.conditions = some_of("conditions", conditions, ACDC_CONDITIONS)
        if split not in _SPLITS:
            raise ValueError(f"split must be one of {', '.join(_SPLITS)}; got {split!r}")
        self.split = split
        self.reference = reference
        self.labelled_only = labelled_only
        self.dataset_name = dataset_name or ("acdc_reference" if reference else "acdc")
        if img_suffix is None:
            img_suffix = "_rgb_ref_anon.png" if reference else "_rgb_anon.png"
        if seg_map_suffix is None:
            seg_map_suffix = f"_gt{'_ref' if reference else ''}_labelTrainIds.png"
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            data_prefix=data_prefix or dict(img_path="rgb_anon", seg_map_path="gt"),
            **kwargs,
        )

    @property
    def labelled(self) -> bool:
        """Whether all images of this split have labels."""
        return self.split != "test" and not self.reference

    @property
    def label_folders(self) -> list[str]:
        """Where the labels of this split are."""
        labels = self.data_prefix.get("seg_map_path") or ""
        return [osp.join(labels, condition, self._split) for condition in self.conditions]

    @property
    def _split(self) -> str:
        return f"{self.split}_ref" if self.reference else self.split

    def load_data_list(self) -> list[dict]:
        """One entry an image, conditions in the given order, images by name within each."""
        entries = [entry for condition in self.conditions for entry in self._load(condition)]
        if self.labelled_only:
            entries = [entry for entry in entries if entry["seg_map_path"] is not None]
            if not entries:
                raise FileNotFoundError(
                    f"none of the images of ACDC's {self._split} has a label named "
                    f"*{self.seg_map_suffix} below {self.data_prefix.get('seg_map_path')}"
                )
        return entries

    def _load(self, condition: str) -> list[dict]:
        def there(label: str) -> bool:
            return self.labelled or fileio.exists(label, backend_args=self.backend_args)

        domain = "clear_day" if self.reference else condition
        folder = osp.join(condition, self._split)
        return entries_below(self, folder, f"ACDC {condition}: {_HELP}", domain, there)
