"""Carrying the domain embeddings of a batch from its samples to backbone and neck.

Shapes: ``B`` batch, ``D`` embedding width, ``K`` domains.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..domain.sources import SPACE_FIELDS
from .layers.domain_inputs import SCORES, DomainInputs, repeat_domain

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
        data_samples: The batch's data samples, ``B`` of them, or ``None``. Each has
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
            "LoadDomainEmbedding or EncodeDomain, and pack with PackDominoInputs (in "
            "detection PackDominoDetInputs)."
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


@dataclass(frozen=True)
class _Condition:
    """What the inputs of a pass do not say of themselves.

    Attributes:
        domain: One row an image: ``(B, D)``, or by space.
        windows: Windows of each image that the inputs hold, the first of all images first.
        latent_of: Size in pixels of the images behind latents given in their place.
    """

    domain: DomainInputs = None
    windows: int = 1
    latent_of: tuple[int, int] | None = None

    @property
    def repeated(self) -> DomainInputs:
        """The same with one row a window, ``B * windows``."""
        return repeat_domain(self.domain, self.windows)


class DomainConditioned:
    """What Domino adds to a stock model with a backbone and perhaps a neck, whatever its task.

    The host framework calls ``extract_feat(inputs)`` from many places, none of which passes the
    samples on. ``loss``, ``predict`` and ``_forward`` therefore gather the embeddings once a batch
    and hold them for the length of the call; nothing is kept between calls.
    """

    #: Tells programs that the embeddings of the samples reach the model.
    carries_domain = True
    _condition = _Condition()

    @contextmanager
    def _conditioned_on(self, domain: DomainInputs, **kwargs) -> Iterator[None]:
        """Hold the embeddings and the other fields of :class:`_Condition`."""
        before = self._condition
        self._condition = _Condition(domain, **kwargs)
        try:
            yield
        finally:
            self._condition = before

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """Features of images ``(B, 3, H, W)`` under the batch's domain embeddings."""
        features = self._backbone_features(inputs)
        if not self.with_neck:
            return features
        # Queries for the head come last and are no level.
        linked = getattr(self.backbone, "links_queries", False)
        levels, queries = (features[:-1], features[-1:]) if linked else (features, ())
        if getattr(self.neck, "accepts_domain", False):
            levels = self.neck(levels, self._condition.repeated)
        else:
            levels = self.neck(levels)
        return (*levels, *queries) if linked else levels

    def _backbone_features(self, inputs: Tensor) -> Sequence[Tensor]:
        condition, backbone = self._condition, self.backbone
        # Such a backbone makes what depends on the domain once an image, not once a window.
        shares = getattr(backbone, "accepts_windows", False)
        domain = condition.domain if shares else condition.repeated
        kwargs = {"windows": condition.windows} if shares else {}
        if condition.latent_of is not None:
            return backbone.forward_latent(inputs, domain, condition.latent_of, **kwargs)
        if getattr(backbone, "accepts_domain", False):
            return backbone(inputs, domain, **kwargs)
        return backbone(inputs)

    def loss(self, inputs: Tensor, data_samples: list, **kwargs) -> dict[str, Tensor]:
        """Losses of a batch, as the host's ``loss`` gives them."""
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super().loss(inputs, data_samples, **kwargs)

    def predict(self, inputs: Tensor, data_samples: list | None = None, **kwargs) -> list:
        """Predictions of a batch, as the host's ``predict`` gives them."""
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super().predict(inputs, data_samples, **kwargs)

    def _forward(self, inputs: Tensor, data_samples: list | None = None, **kwargs) -> Tensor:
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super()._forward(inputs, data_samples, **kwargs)
