"""Getting the domain embeddings of a batch from its samples.

Shapes: ``B`` batch, ``D`` embedding width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["gather_domain"]


def _name(sample: object) -> str:
    return str(getattr(sample, "img_path", None) or "an image without img_path")


def gather_domain(data_samples: Sequence | None, like: Tensor) -> Tensor | None:
    """Stack the samples' ``domain_embedding`` into one tensor.

    Only embeddings that are still on the host are asked whether they are finite: reading values
    back from an accelerator would make every step wait for it. ``PackDominoInputs`` has asked
    those that it packed.

    Args:
        data_samples: The batch's ``SegDataSample``\\ s, ``B`` of them, or ``None``.
        like: The images ``(B, 3, H, W)``; the result is on their device, in float32.

    Returns:
        ``(B, D)``, or ``None`` if there are no samples or none of them has an embedding.

    Raises:
        ValueError: If only some samples have an embedding, or their widths differ, or one on the
            host holds NaN or infinite values. The message names the images.
    """
    if not data_samples:
        return None
    embeddings = [getattr(sample, "domain_embedding", None) for sample in data_samples]
    missing = [i for i, embedding in enumerate(embeddings) if embedding is None]
    if len(missing) == len(embeddings):
        return None
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(embeddings)} samples of a batch have no domain embedding, "
            f"the first: {_name(data_samples[missing[0]])}. Give every data set of the mixture "
            "LoadDomainEmbedding or EncodeDomain, and pack with PackDominoInputs."
        )
    widths = {tuple(embedding.shape) for embedding in embeddings}
    if len(widths) > 1 or len(next(iter(widths))) != 1:
        raise ValueError(
            "the domain embeddings of a batch must all be vectors of one width, got the shapes "
            f"{sorted(widths)}; the stores or encoders of the mixed data sets differ"
        )
    bad = [
        _name(sample)
        for sample, embedding in zip(data_samples, embeddings, strict=True)
        if embedding.device.type == "cpu" and not embedding.isfinite().all()
    ]
    if bad:
        raise ValueError(
            f"the domain embeddings of {len(bad)} samples hold NaN or infinite values: "
            f"{', '.join(bad[:5])}. Recompute the store, or the encoder's precision is too low."
        )
    return torch.stack([e.to(like.device, torch.float32) for e in embeddings])
