"""Real and synthetic images in a stated ratio."""

import logging
from collections.abc import Sequence

from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.logging import print_log
from mmseg.registry import DATASETS

from .draws import parse_ratio

_EMPTY = (
    "holds no image, but the mixture draws from it: check its data_root, generate the images "
    "first, or leave it out"
)


class SampleIndex(int):
    """The index of a sample that remembers which draw of a run's stream it is.

    ``ConcatDataset`` subtracts from an index and ``RepeatDataset`` takes its remainder; the result
    is still the same draw.
    """

    draw: int
    seed: int

    def __new__(cls, value: int, draw: int, seed: int) -> "SampleIndex":
        self = super().__new__(cls, value)
        self.draw, self.seed = draw, seed
        return self

    def __getnewargs__(self) -> tuple[int, int, int]:
        return int(self), self.draw, self.seed

    def __sub__(self, other: int) -> "SampleIndex":
        return SampleIndex(int(self) - other, self.draw, self.seed)

    def __mod__(self, other: int) -> "SampleIndex":
        return SampleIndex(int(self) % other, self.draw, self.seed)


def leaf_sample(dataset, index: int) -> tuple[BaseDataset, int]:
    """The data set inside any wrappers that an index leads to, and the index there."""
    while hasattr(dataset, "_get_ori_dataset_idx"):
        inner = dataset._get_ori_dataset_idx(index)
        if isinstance(inner, tuple):  # ConcatDataset; the others wrap one data set
            dataset, index = dataset.datasets[inner[0]], inner[1]
        else:
            dataset, index = dataset.dataset, inner
    return dataset, index


def leaf_transforms(leaf: BaseDataset) -> Sequence:
    """The transforms of a data set's pipeline; none if it is of a form that is not known here."""
    return getattr(getattr(leaf, "pipeline", None), "transforms", ())


@DATASETS.register_module()
class RatioConcatDataset(ConcatDataset):
    """Concatenated data sets of which training shall see a stated ratio.

    The data set only states the ratio; ``ResumableInfiniteSampler`` keeps it, whatever the sizes:
    in every window of as many samples as the ratio's terms add up to (five for 4:1), in each
    process. A smaller source comes round more often, and no image of a source comes again before
    all its others have come.

    Args:
        datasets: Two or more data sets or their configs, usually real then synthetic.
        ratio: The terms in the order of ``datasets``, such as ``'4:1'``.
        schedule: Changes of the ratio, as ``dict(begin=SAMPLES, ratio='2:1')`` in ascending order.
            ``begin`` counts samples of all processes: iterations x batch size x processes.
        lazy_init: As for ``ConcatDataset``.
        ignore_keys: Keys of ``metainfo`` that may differ between the data sets.

    Raises:
        ValueError: If the ratio does not have as many terms as there are data sets, the schedule
            is not ascending, or a data set that the ratio draws from is empty.

    Example:
        >>> train_dataloader = dict(
        ...     sampler=dict(type="ResumableInfiniteSampler"),
        ...     dataset=dict(type="RatioConcatDataset", ratio="4:1", datasets=[real, synthetic]),
        ... )
    """

    def __init__(
        self,
        datasets: Sequence[BaseDataset | dict],
        ratio: str | Sequence[int] = "4:1",
        schedule: Sequence[dict] = (),
        lazy_init: bool = False,
        ignore_keys: str | list[str] | None = None,
    ) -> None:
        steps = [(0, parse_ratio(ratio))]
        for step in schedule:
            steps.append((int(step["begin"]), parse_ratio(step["ratio"])))
        begins = [begin for begin, _ in steps]
        if sorted(set(begins)) != begins:
            raise ValueError(
                "`begin` of the schedule must be above 0 and ascend (the ratio before the first "
                f"is `ratio` itself), got {begins[1:]}"
            )
        for _, terms in steps:
            if len(terms) != len(datasets):
                raise ValueError(
                    f"the ratio {':'.join(map(str, terms))} has {len(terms)} terms for "
                    f"{len(datasets)} data sets; they must be as many"
                )
        self.ratio_schedule: tuple[tuple[int, tuple[int, ...]], ...] = tuple(steps)
        self._told = False
        try:
            super().__init__(datasets, lazy_init=lazy_init, ignore_keys=ignore_keys)
        except ValueError as error:
            # What NumPy says when MMEngine packs an empty list of images.
            if "need at least one array" not in str(error):
                raise
            named = [d for d in datasets if isinstance(d, dict)]
            places = ", ".join(f"{d['type']} {d.get('data_root', '')}" for d in named)
            raise ValueError(f"one of {places} {_EMPTY}") from error

    def full_init(self) -> None:
        """Load all lists of images and see that none is empty that is to be drawn from."""
        super().full_init()
        for number, dataset in enumerate(self.datasets):
            if not len(dataset) and any(terms[number] for _, terms in self.ratio_schedule):
                place = getattr(dataset, "data_root", "")
                raise ValueError(f"{type(dataset).__name__} {place} {_EMPTY}")

    def __getitem__(self, idx: int) -> dict:
        if not isinstance(idx, SampleIndex) and not self._told:
            self._told = True
            print_log(
                "RatioConcatDataset is read by plain index, so its ratio is not applied: training "
                "needs sampler=dict(type='ResumableInfiniteSampler')",
                logger="current",
                level=logging.WARNING,
            )
        return super().__getitem__(idx)
