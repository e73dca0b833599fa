"""Data sets of listed samples, with no files, for tests of mixtures and samplers."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS


@TRANSFORMS.register_module(force=True)
class AddRandom(BaseTransform):
    """Stands for augmentation: draws from each of the generators that transforms use."""

    def transform(self, results):
        import random

        drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
        return dict(index=int(results["sample_idx"]), name=results["img_path"], drawn=drawn)


@DATASETS.register_module(force=True)
class ListedDataset(BaseSegDataset):
    """``size`` samples named ``tag0``, ``tag1``, ..., domains in turn from ``domains``."""

    METAINFO = dict(classes=("a", "b"), palette=[[0, 0, 0], [1, 1, 1]])

    def __init__(self, tag, size, domains=(None,), **kwargs):
        self.tag, self.size, self.domains = tag, size, domains
        super().__init__(**kwargs)

    def load_data_list(self):
        return [
            dict(
                img_path=f"{self.tag}{i}",
                seg_map_path=f"{self.tag}{i}.png",
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
                domain=self.domains[i % len(self.domains)],
            )
            for i in range(self.size)
        ]
