"""The sampler of this package's training configs: resumable, mixing, balancing.

Its stream is a pure function of a seed and a position, so a run that is killed and resumed sees
the samples that the run would have seen. The augmentation of each sample is made so, too, by the
transform ``SeedSample``.
"""

import math
from collections.abc import Iterator, Sequence, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .class_statistics import load_class_pixels
from .draws import BalancedDraws, Draws, MixtureStream, OrderedDraws, RareClassDraws, ShuffledDraws
from .mixture import SampleIndex, leaf_sample, leaf_transforms


def sample_domain(dataset, index: int) -> str:
    """The domain of a sample, without reading its image.

    It is what the data set class has recorded, or what a ``SetDomain`` of its pipeline says.
    """
    dataset, index = leaf_sample(dataset, index)
    for transform in leaf_transforms(dataset):
        if type(transform).__name__ == "SetDomain" and transform.domain is not None:
            return transform.domain
    domain = dataset.get_data_info(index).get("domain")
    if domain is None:
        raise ValueError(
            f"balance_domains needs the domain of each sample, and {type(dataset).__name__} "
            "records none: put dict(type='SetDomain', domain=...) first in its pipeline, one data "
            "set a domain"
        )
    return domain


@DATA_SAMPLERS.register_module()
class ResumableInfiniteSampler(Sampler):
    """An endless stream of samples that depends on seed and position alone.

    With an ordinary data set each image comes once a pass, in an order of its own each pass. With
    a ``RatioConcatDataset`` the stated ratio holds in every window; see there.

    Resuming needs nothing more: MMEngine's ``IterBasedTrainLoop`` advances the sampler to the
    iteration of the checkpoint, through :meth:`skip` where it knows it. State the seed in the
    config, ``randomness=dict(seed=0)``: MMEngine builds the sampler before it reads the
    checkpoint.

    Args:
        dataset: What to sample from.
        shuffle: Random order, or that of the data set.
        seed: Of the stream; ``None`` for one that all processes agree on. MMEngine gives the
            run's.
        balance_domains: Give each domain of a source the same share: each comes once in a round.
        rare_classes: Prefer images that show rare classes, within each source (and domain):
            ``dict(statistics=FILE, temperature=0.01, min_pixels=3000)``, see
            ``RareClassDraws``. ``FILE`` (.safetensors) keeps the pixels of each class in each
            image and is made from the labels on first use.
        samples_per_epoch: Samples an epoch of all processes, for ``EpochBasedTrainLoop``;
            ``None`` for an endless stream, as ``IterBasedTrainLoop`` needs it.

    Raises:
        ValueError: If the data set is empty, or ``rare_classes`` comes without shuffling.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        balance_domains: bool = False,
        rare_classes: dict | None = None,
        samples_per_epoch: int | None = None,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.shuffle = dataset, shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.balance_domains, self.rare_classes = balance_domains, rare_classes
        self.samples_per_epoch = samples_per_epoch
        self.start = 0
        if not len(dataset):
            raise ValueError("the data set to sample from is empty")
        if rare_classes is not None and not shuffle:
            raise ValueError("rare_classes draws at random; it cannot go with shuffle=False")
        self.stream = self._build_stream()

    def __iter__(self) -> Iterator[SampleIndex]:
        position = self.start
        while self.samples_per_epoch is None or position < self.start + len(self):
            draw = position * self.world_size + self.rank
            yield SampleIndex(self.stream[draw], draw, self.seed)
            position += 1

    def __len__(self) -> int:
        """Samples of this process in an epoch, or the size of the data set if there is none."""
        if self.samples_per_epoch is None:
            return len(self.dataset)
        return math.ceil(self.samples_per_epoch / self.world_size)

    def skip(self, num_samples: int) -> None:
        """Start at a position of this process's stream, counted from its very beginning."""
        if num_samples < 0:
            raise ValueError(f"num_samples must be at least 0, got {num_samples}")
        self.start = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Start at an epoch. An endless stream has none and stays where it is."""
        if self.samples_per_epoch is not None:
            self.start = epoch * len(self)

    def _build_stream(self) -> MixtureStream:
        schedule = getattr(self.dataset, "ratio_schedule", None)
        if schedule is None:
            schedule, ends = ((0, (1,)),), [len(self.dataset)]
        else:
            ends = list(self.dataset.cumulative_sizes)
        pixels = None
        if self.rare_classes is not None:
            options = dict(self.rare_classes)
            pixels = load_class_pixels(self.dataset, options.pop("statistics"))
        sources = [
            self._draws(range(begin, end), number, pixels)
            for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        return MixtureStream(sources, schedule, self.world_size)

    def _draws(self, samples: Sequence[int], source: int, pixels: np.ndarray | None) -> Draws:
        key = (self.seed, source)
        if not self.balance_domains or not len(samples):
            return self._part_draws(samples, (*key, 0), pixels)
        domains: dict[str, list[int]] = {}
        for sample in samples:
            domains.setdefault(sample_domain(self.dataset, sample), []).append(sample)
        parts = [
            self._part_draws(part, (*key, number), pixels)
            for number, (_, part) in enumerate(sorted(domains.items()), 1)
        ]
        return BalancedDraws(parts, (*key, 0))

    def _part_draws(
        self, samples: Sequence[int], key: tuple[int, ...], pixels: np.ndarray | None
    ) -> Draws:
        if pixels is not None and len(samples):
            options = {k: v for k, v in self.rare_classes.items() if k != "statistics"}
            return RareClassDraws(samples, pixels[np.asarray(samples)], key, **options)
        return ShuffledDraws(samples, key) if self.shuffle else OrderedDraws(samples)
