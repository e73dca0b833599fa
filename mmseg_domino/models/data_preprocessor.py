"""The host's data preprocessor, able to make the domain embedding on the model's device.

Shapes: ``B`` batch, ``H W`` an image's size, ``D`` width of the embedding, ``K`` domains.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.structures import BaseDataElement
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..domain.encoder import DomainEncoder
from ..domain.sources import SPACE_FIELDS, build_sources
from ..domain.store import load_prototypes
from ..domain.tables import LearnedDomainTable

# See datasets/transforms/domain.py.
MODELS.register_module(module=DomainEncoder, force=True)


class DomainEmbedding:
    """What makes a stock data preprocessor give every sample a domain embedding.

    It comes before the host's class, which is given the ``kwargs``. The other arguments are those
    of :class:`DominoDataPreProcessor`.
    """

    #: What the host packs an image into.
    sample_class: type = SegDataSample

    def __init__(
        self,
        *,
        domain_encoder: Mapping | None = None,
        source: str = "soft",
        space: str | Sequence[str] = "context",
        temperature: float | None = None,
        assign: str | None = None,
        prototypes: str | Mapping[str, str] | None = None,
        encode_in_training: bool = False,
        domain_table: Mapping | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if (source == "learned") != (domain_table is not None):
            raise ValueError(
                "source='learned' needs `domain_table`, the arguments of LearnedDomainTable, and "
                f"no other source takes it; got source={source!r}, domain_table={domain_table}"
            )
        self.domain_encoder = None if domain_encoder is None else dict(domain_encoder)
        table = load_prototypes(prototypes)
        self.sources = build_sources(source, space, temperature, assign, table)
        self.encode_in_training = encode_in_training
        self._inputs_are_rgb = kwargs.get("rgb_to_bgr", False)
        self.domain_table = None if domain_table is None else LearnedDomainTable(**domain_table)
        # A list hides the module from torch: no parameters, no state, no train().
        self._encoder: list[torch.nn.Module] = []

    @property
    def encoder(self) -> torch.nn.Module | None:
        """The encoder, built on first use; ``None`` if there is to be none."""
        if not self._encoder and self.domain_encoder is not None:
            encoder = MODELS.build({"type": "DomainEncoder", **self.domain_encoder})
            self._encoder.append(encoder.to(self.device))
        return self._encoder[0] if self._encoder else None

    def _apply(self, fn: Callable, recurse: bool = True):
        # What .to(), .cuda() and .cpu() call on every module.
        for encoder in self._encoder:
            encoder._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Embed what has no embedding yet, then preprocess as the host does."""
        data = self.cast_data(data)
        if self.domain_encoder is not None:
            data = self._embed_missing(data, training)
        if self.domain_table is not None:
            self._look_up(data.get("data_samples") or [])
        return super().forward(data, training)

    def _embed_missing(self, data: dict, training: bool) -> dict:
        inputs, samples = data["inputs"], data.get("data_samples")
        if samples is None:
            samples = [_plain_sample(image, self.sample_class) for image in inputs]
        missing = [i for i, sample in enumerate(samples) if not _is_embedded(sample)]
        if missing and training and not self.encode_in_training:
            raise ValueError(
                f"{len(missing)} of {len(samples)} training samples have no domain embedding, and "
                "what the data preprocessor sees in training are crops. Add LoadDomainEmbedding "
                "(or EncodeDomain) to the training pipeline, or set encode_in_training=True."
            )
        if missing:
            images = [inputs[i] if self._inputs_are_rgb else inputs[i].flip(0) for i in missing]
            true = [samples[i].get("domain") for i in missing]
            image = self.encoder.encode_raw(images)
            text = self.encoder.text
            for source in self.sources:
                embeddings, scores = source(image, text, true)
                one = len(self.sources) == 1
                field = "domain_embedding" if one else SPACE_FIELDS[source.space]
                for i, embedding, score in zip(missing, embeddings, scores, strict=True):
                    samples[i].set_data({field: embedding, "domain_scores": score})
                    space = {"domain_space": source.space} if one else {}
                    samples[i].set_metainfo({"domain_names": text.keys, **space})
        return {**data, "data_samples": samples}

    def _look_up(self, samples: Sequence) -> None:
        for sample in samples:
            if "domain_embedding" in sample:
                weights = sample.domain_embedding
                sample.set_data({"domain_embedding": self.domain_table(weights[None])[0]})


@MODELS.register_module()
class DominoDataPreProcessor(DomainEmbedding, SegDataPreProcessor):
    """``SegDataPreProcessor`` that gives every sample a domain embedding.

    Samples that have one (from ``LoadDomainEmbedding`` or ``EncodeDomain``) keep it. The others are
    encoded here, once an image, on the model's device, before the images are normalised, padded or
    cut into windows: so ``inference_model(model, image)`` needs neither a store nor a change of the
    test pipeline. The pipeline may have resized the image; that alters the scores less than
    the encoder's own resizing does, but a store or ``EncodeDomain`` sees the original.

    The encoder is built when the first sample needs it. It follows the model to its device, and is
    no part of its parameters, its state or its checkpoints.

    Args:
        domain_encoder: Arguments of ``DomainEncoder``; ``type`` may name another registered
            encoder. ``None``: samples without an embedding stay without.
        source: What the embedding is made of; see ``LoadDomainEmbedding``.
        space: ``'context'``, ``'joint'``, or both.
        temperature: Of the scores; ``None`` for CLIP's own.
        assign: See ``LoadDomainEmbedding``.
        prototypes: See ``LoadDomainEmbedding``.
        encode_in_training: In training the images are crops, whose domain CLIP judges worse, and
            every crop costs a pass of CLIP. ``False`` refuses; ``True`` does it all the same.
        domain_table: Arguments of :class:`~mmseg_domino.domain.tables.LearnedDomainTable`, for
            ``source='learned'``: the samples then carry weights ``(K,)``, and the trained table
            turns them into embeddings ``(D,)``. Its parameters are part of the model.
        **kwargs: As for ``SegDataPreProcessor``. With ``rgb_to_bgr`` the images that come in are
            taken to be RGB, else BGR.

    Raises:
        ValueError: In training, if a sample has no embedding and ``encode_in_training`` is false.
    """


def _is_embedded(sample: BaseDataElement) -> bool:
    return any(field in sample for field in ("domain_embedding", *SPACE_FIELDS.values()))


def _plain_sample(image: Tensor, kind: type) -> BaseDataElement:
    """What the host assumes of an image that comes without a sample."""
    size = tuple(image.shape[-2:])
    shapes = dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), size)
    return kind(metainfo={**shapes, "padding_size": [0, 0, 0, 0]})
