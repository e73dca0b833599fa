"""Naming the data set and the domain of a sample."""

from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ...metrics import check_name


@TRANSFORMS.register_module()
class SetDomain(BaseTransform):
    """Tag samples of a data set that does not know its domain itself.

    It stands first in the pipeline, so that what follows (``EncodeDomain``, corruptions) sees the
    tags. Added keys: ``dataset`` and ``domain``, those that are given.

    Args:
        dataset: Name of the data set in results, such as ``'cityscapes'``.
        domain: Key of the domain, such as ``'clear_day'``; ``None`` leaves the one that the data
            set class has recorded.

    Raises:
        ValueError: If neither is given, or a name cannot be filed under, see
            :func:`~mmseg_domino.metrics.check_name`.

    Example:
        >>> SetDomain("cityscapes", "clear_day")({"img_path": "a.png"})
        {'img_path': 'a.png', 'dataset': 'cityscapes', 'domain': 'clear_day'}
    """

    is_loading = True

    def __init__(self, dataset: str | None = None, domain: str | None = None) -> None:
        if dataset is None and domain is None:
            raise ValueError("SetDomain needs a dataset, a domain or both; got neither")
        given = {"dataset": dataset, "domain": domain}
        self.tags = {
            kind: check_name(kind, name) for kind, name in given.items() if name is not None
        }
        self.dataset, self.domain = dataset, domain

    def transform(self, results: dict) -> dict:
        """Set the tags."""
        results.update(self.tags)
        return results

    def __repr__(self) -> str:
        return f"SetDomain(dataset={self.dataset!r}, domain={self.domain!r})"
