"""Packing a detector's sample together with its domain."""

from collections.abc import Sequence

from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS

from ..datasets.transforms.formatting import DOMAIN_META_KEYS, pack_domain

_STOCK_META_KEYS = tuple(PackDetInputs().meta_keys)


@TRANSFORMS.register_module()
class PackDominoDetInputs(PackDetInputs):
    """``PackDetInputs`` that keeps what is known of the sample's domain.

    See :class:`~mmseg_domino.datasets.PackDominoInputs` for the keys.

    Args:
        meta_keys: Meta keys to pack, as for ``PackDetInputs`` and with its default. Those of the
            domain are packed in any case.
        truth: Also pack the annotations of the image at its own size (``instances``), which
            ``DomainDetectionMetric`` compares with. For testing.

    Raises:
        ValueError: If an embedding or scores are not a vector of finite numbers; names the file.
    """

    def __init__(self, meta_keys: Sequence[str] = _STOCK_META_KEYS, truth: bool = False) -> None:
        added = (*DOMAIN_META_KEYS, *(("instances",) if truth else ()))
        super().__init__(meta_keys=tuple(dict.fromkeys((*meta_keys, *added))))

    def transform(self, results: dict) -> dict:
        """Pack; see the class."""
        results.setdefault("scale_factor", (1.0, 1.0))  # heads ask for it; no Resize, no change
        packed = super().transform(results)
        pack_domain(packed["data_samples"], results)
        return packed
