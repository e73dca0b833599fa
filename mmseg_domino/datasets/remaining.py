"""Going on with an interrupted test."""

from collections.abc import Iterator

from mmengine.dataset import BaseDataset, ConcatDataset
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ..utils.journal import finished_images
from .transforms import SetDomain


def group_keys(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Group key and image path of every sample, without loading any image."""
    if isinstance(dataset, RemainingDataset):
        dataset = dataset.dataset
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from group_keys(part)
        return
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f"cannot resume on a {type(dataset).__name__}: its samples are not known without "
            "loading them; expected a data set or a ConcatDataset"
        )
    for info in tagged_infos(dataset):
        yield f"{info.get('dataset')}/{info.get('domain')}", str(info["img_path"])


def tagged_infos(dataset: BaseDataset) -> Iterator[dict]:
    """What is known of every sample without loading it, ``SetDomain`` of the pipeline included."""
    tags = [t for t in dataset.pipeline.transforms if isinstance(t, SetDomain)]
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        for tag in tags:
            info = tag.transform(info)
        yield info


@DATASETS.register_module()
class RemainingDataset(Dataset):
    """What an interrupted test has not done yet.

    If all is done, one sample remains, because no sampler can do without; the metric does not
    count it again.

    Args:
        dataset: The whole data set, or its config.
        journal: Folder of the journal that ``DomainIoUMetric(journal=...)`` kept.
    """

    def __init__(self, dataset: dict | Dataset, journal: str) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        done = finished_images(journal)
        keys = group_keys(self.dataset)
        self.indices = [i for i, key in enumerate(keys) if key not in done] or [0]

    @property
    def metainfo(self) -> dict:
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Nothing is left to do; the host's runner asks for it."""

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[self.indices[index]]
