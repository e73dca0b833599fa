"""Training samples kept in memory, where a pipeline makes few of each image."""

import copy

from mmengine.dataset import BaseDataset, RepeatDataset
from mmseg.registry import DATASETS

from .mixture import SampleIndex, leaf_sample, leaf_transforms
from .transforms import SeedSample


@DATASETS.register_module()
class CachedDataset(RepeatDataset):
    """Run the pipeline once for each variant of an image, and keep what it gave in memory.

    With ``SeedSample(variants=N)`` first in the pipeline an image has N augmentations in all, and
    the pipeline is worth keeping where it costs much, as weather by rule does. Training sees the
    same samples with and without. Each loading worker keeps its own. With another sampler than
    ``ResumableInfiniteSampler`` nothing is seeded and nothing is kept.

    Memory: N times the number of images, each as large as a packed sample.

    Args:
        dataset: What to keep samples of, or its config; wrappers in any nesting.
        lazy_init: As for ``RepeatDataset``.

    Raises:
        ValueError: At the first sample, if its pipeline does not begin with a ``SeedSample`` that
            limits the variants.

    Example:
        >>> pipeline = [dict(type="SeedSample", variants=4), ...]
        >>> dataset = dict(type="CachedDataset", dataset=dict(type="CityscapesDataset", ...))
    """

    def __init__(self, dataset: BaseDataset | dict, lazy_init: bool = False) -> None:
        self._samples: dict[tuple[int, ...], dict] = {}
        super().__init__(dataset, times=1, lazy_init=lazy_init)

    def __getitem__(self, idx: int) -> dict:
        if not isinstance(idx, SampleIndex):
            return super().__getitem__(idx)
        leaf, index = leaf_sample(self.dataset, idx)
        key = id(leaf), *self._seed_sample(leaf).key(index)
        if key not in self._samples:
            self._samples[key] = super().__getitem__(idx)
        # what follows may write into its sample, as the batch's padding does
        return copy.deepcopy(self._samples[key])

    def _seed_sample(self, leaf: BaseDataset) -> SeedSample:
        first = next(iter(leaf_transforms(leaf)), None)
        if not isinstance(first, SeedSample) or first.variants is None:
            raise ValueError(
                f"CachedDataset keeps the variants of each image, and the pipeline of "
                f"{type(leaf).__name__} begins with {first!r}, which does not limit them; begin it "
                "with dict(type='SeedSample', variants=N), or leave CachedDataset out"
            )
        return first
