"""Getting the domain embeddings of a batch from its samples.

Shapes: ``B`` batch, ``D`` embedding width, ``K`` domains.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...domain.sources import SPACE_FIELDS
from ..layers.domain_inputs import SCORES, DomainInputs

#: Field of a sample that carries one embedding.
_ONE = "domain_embedding"


def _name(sample: object) -> str:
    return str(getattr(sample, "img_path", None) or "an image without img_path")


def gather_domain(data_samples: Sequence | None, like: Tensor) -> DomainInputs:
    """Stack what the samples say of their domain.

    Only embeddings that are still on the host are asked whether they are finite: reading values
    back from an accelerator would make every step wait for it. ``PackDominoInputs`` has asked
    those that it packed.

    Args:
        data_samples: The batch's ``SegDataSample``\\ s, ``B`` of them, or ``None``. Each has
            ``domain_embedding`` ``(D,)``, of the space that ``domain_space`` names if it is there,
            or ``domain_joint`` and ``domain_context``; and it may have ``domain_scores`` ``(K,)``.
        like: The images ``(B, 3, H, W)``; the result is on their device, in float32.

    Returns:
        ``(B, D)`` by space with the scores ``(B, K)``; the embeddings alone if it is not known in
        which space they lie; ``None`` if there are no samples or none has an embedding.

    Raises:
        ValueError: If only some samples have an embedding, their widths or spaces differ, or one
            on the host holds NaN or infinite values. The message names the images.
    """
    if not data_samples:
        return None
    one = _stack(data_samples, _ONE, like)
    found = {space: _stack(data_samples, field, like) for space, field in SPACE_FIELDS.items()}
    found = {space: stacked for space, stacked in found.items() if stacked is not None}
    if one is not None:
        spaces = {getattr(sample, "domain_space", None) for sample in data_samples}
        if len(spaces) > 1:
            raise ValueError(
                f"the domain embeddings of a batch lie in different spaces ({spaces}); give all "
                "data sets of a mixture the same `space`"
            )
        space = spaces.pop()
        if space is None:
            return one
        found = {space: one}
    if not found:
        return None
    if all(getattr(s, "domain_scores", None) is not None for s in data_samples):
        found[SCORES] = _stack(data_samples, "domain_scores", like)
    return found


def _stack(data_samples: Sequence, field: str, like: Tensor) -> Tensor | None:
    vectors = [getattr(sample, field, None) for sample in data_samples]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    if len(missing) == len(vectors):
        return None
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(vectors)} samples of a batch have no domain embedding, "
            f"the first: {_name(data_samples[missing[0]])}. Give every data set of the mixture "
            "LoadDomainEmbedding or EncodeDomain, and pack with PackDominoInputs."
        )
    widths = {tuple(vector.shape) for vector in vectors}
    if len(widths) > 1 or len(next(iter(widths))) != 1:
        raise ValueError(
            "the domain embeddings of a batch must all be vectors of one width, got the shapes "
            f"{sorted(widths)}; the stores or encoders of the mixed data sets differ"
        )
    bad = [
        _name(sample)
        for sample, vector in zip(data_samples, vectors, strict=True)
        if vector.device.type == "cpu" and not vector.isfinite().all()
    ]
    if bad:
        raise ValueError(
            f"the domain embeddings of {len(bad)} samples hold NaN or infinite values: "
            f"{', '.join(bad[:5])}. Recompute the store, or the encoder's precision is too low."
        )
    return torch.stack([v.to(like.device, torch.float32, non_blocking=True) for v in vectors])
