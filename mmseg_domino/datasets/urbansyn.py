"""UrbanSyn as its archives unpack."""

import os.path as osp

from mmseg.registry import DATASETS

from .folders import FolderDataset


@DATASETS.register_module()
class UrbanSynDataset(FolderDataset):
    """UrbanSyn: 7,539 synthetic images, ``rgb/rgb_0001.png`` with ``ss/ss_0001.png``.

    Its labels are Cityscapes' trainIds, with 19 for what has no class, which becomes the ignored
    255. Nothing needs to be converted.

    Args:
        dataset_name: Tag of the samples in results.
        **kwargs: As for :class:`FolderDataset`.

    Source: Gomez et al., *All for One, and One for All: UrbanSyn Dataset*, 2023; the classes are
    those of the table on its page (huggingface.co/datasets/UrbanSyn/UrbanSyn).
    """

    #: Pixels without a class.
    VOID = 19

    def __init__(self, dataset_name: str = "urbansyn", **kwargs) -> None:
        kwargs.setdefault("data_prefix", dict(img_path="rgb", seg_map_path="ss"))
        super().__init__(dataset_name=dataset_name, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry an image, by path."""
        entries = super().load_data_list()
        for entry in entries:
            folder, name = osp.split(entry["seg_map_path"] or "")
            if name:
                entry["seg_map_path"] = osp.join(folder, name.replace("rgb_", "ss_", 1))
            entry["label_map"] = {self.VOID: self.ignore_index}
        return entries
