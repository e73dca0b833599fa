"""Packing a sample together with its domain.

Shapes: ``D`` width of the embedding, ``K`` domains.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from mmseg.datasets.transforms import PackSegInputs
from mmseg.registry import TRANSFORMS

from ...domain.sources import SPACE_FIELDS

#: What every packed sample of this package says about itself, where it is known.
DOMAIN_META_KEYS = ("img_path", "dataset", "domain", "domain_names", "domain_space")
_TENSOR_KEYS = ("domain_embedding", *SPACE_FIELDS.values(), "domain_scores")
_STOCK_META_KEYS = tuple(PackSegInputs().meta_keys)


@TRANSFORMS.register_module()
class PackDominoInputs(PackSegInputs):
    """``PackSegInputs`` that keeps what is known of the sample's domain.

    The embedding and the scores become tensors of the data sample, so that they move to the
    device with it; the names become meta information.

    Optional keys: ``domain_embedding``, ``domain_joint`` and ``domain_context`` ``(D,)``,
    ``domain_scores`` ``(K,)``, ``domain_names``, ``domain_space``, ``domain``, ``dataset``.

    Args:
        meta_keys: Meta keys to pack, as for ``PackSegInputs`` and with its default. Those of
            :data:`DOMAIN_META_KEYS` are packed in any case.

    Raises:
        ValueError: If an embedding or scores are not a vector of finite numbers; names the file.
    """

    def __init__(self, meta_keys: Sequence[str] = _STOCK_META_KEYS) -> None:
        super().__init__(meta_keys=tuple(dict.fromkeys((*meta_keys, *DOMAIN_META_KEYS))))

    def transform(self, results: dict) -> dict:
        """Pack; see the class."""
        packed = super().transform(results)
        pack_domain(packed["data_samples"], results)
        return packed


def pack_domain(sample: BaseDataElement, results: dict) -> None:
    """Put embedding and scores of a pipeline's results on the data sample, as tensors.

    Raises:
        ValueError: If one is not a vector of finite numbers; names the file.
    """
    for key in _TENSOR_KEYS:
        if results.get(key) is not None:
            sample.set_data({key: _vector(results, key)})


def _vector(results: dict, key: str) -> torch.Tensor:
    value = results[key]
    tensor = torch.as_tensor(value if torch.is_tensor(value) else np.asarray(value))
    if tensor.ndim != 1 or not tensor.is_floating_point():
        raise ValueError(
            f"{key} of {results.get('img_path', 'an image without a path')} must be a vector of "
            f"floats, got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    # Here, on the host: nobody asks later, when it would mean to wait for the device.
    if not tensor.isfinite().all():
        raise ValueError(
            f"{key} of {results.get('img_path', 'an image without a path')} holds NaN or infinite "
            "values. Recompute the store, or the encoder's precision is too low."
        )
    return tensor.float().clone()
