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

    Args:
        variants: How many different augmentations an image has in all; ``None`` for a new one each
            time it comes. With few, what a frozen part of the network gives for them can be kept
            (``vae=dict(cache=FOLDER)`` of ``DominoVPD``).
    """

    is_loading = True

    def __init__(self, variants: int | None = None) -> None:
        if variants is not None and variants < 1:
            raise ValueError(f"variants must be at least 1, or None for no limit; got {variants}")
        self.variants = variants

    def key(self, index: SampleIndex) -> tuple[int, ...]:
        """What the augmentation of a sample depends on."""
        if self.variants is None:
            return index.seed, index.draw
        return index.seed, int(index), index.draw % self.variants

    def transform(self, results: dict) -> dict:
        """Seed, and hand on the sample as it is."""
        index = results.get("sample_idx")
        if isinstance(index, SampleIndex):
            state = np.random.SeedSequence(self.key(index)).generate_state(3)
            random.seed(int(state[0]))
            np.random.seed(int(state[1]))
            torch.default_generator.manual_seed(int(state[2]))
        return results

    def __repr__(self) -> str:
        return f"SeedSample(variants={self.variants})"
