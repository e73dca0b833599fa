"""Augmentation that depends on the run's seed and the sample's place in it alone."""

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ..mixture import SampleIndex


@TRANSFORMS.register_module()
class SeedSample(BaseTransform):
    """Seed Python's, NumPy's and PyTorch's CPU generators for the transforms that follow.

    It stands first in a training pipeline and works with ``ResumableInfiniteSampler``, whose
    indices say which draw of the run a sample is. Crops, flips and colours are then the same
    whether training came to a sample in one go or was resumed, with any number of workers. With
    another sampler it does nothing.
    """

    is_loading = True

    def transform(self, results: dict) -> dict:
        """Seed, and hand on the sample as it is."""
        index = results.get("sample_idx")
        if isinstance(index, SampleIndex):
            state = np.random.SeedSequence((index.seed, index.draw)).generate_state(3)
            random.seed(int(state[0]))
            np.random.seed(int(state[1]))
            torch.default_generator.manual_seed(int(state[2]))
        return results

    def __repr__(self) -> str:
        return "SeedSample()"
