"""Segmentors that carry each image's domain embedding to the backbone and the neck.

Shapes: ``B`` batch, ``D`` embedding width, ``N`` classes, ``H W`` spatial.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ..layers.domain_inputs import DomainInputs, repeat_domain
from .channels import fit_head, fit_neck
from .conditioning import gather_domain
from .slide import accumulate_windows, cut_windows, slide_options, window_positions


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


class _DomainConditioned:
    """What Domino adds to a stock segmentor.

    The host framework calls ``extract_feat(inputs)`` from many places, none of which passes the
    samples on. ``loss``, ``predict`` and ``_forward`` therefore gather the embeddings once a batch
    and hold them for the length of the call; nothing is kept between calls.

    ``test_cfg`` takes, besides the stock keys, for ``mode='slide'``:

    - ``windows_per_batch`` (int, 1): how many windows go through the network at once. The result
      does not depend on it (to rounding).
    - ``latent`` (str, ``'window'``): with ``'image'`` a backbone that can encode (``DominoVPD``)
      encodes the whole image once and the windows are cut from the latent. The grid of windows is
      then one of whole latents and each window sees its surroundings through the encoder, so the
      result differs.
    """

    #: Tells programs that the embeddings of the samples reach the model.
    carries_domain = True

    _condition = _Condition()

    def __init__(
        self,
        *args,
        backbone: dict,
        decode_head: dict | list,
        neck: dict | None = None,
        auxiliary_head: dict | list | None = None,
        pretrained: str | None = None,
        **kwargs,
    ) -> None:
        if pretrained is not None:
            backbone = {**backbone, "pretrained": pretrained}
        built = MODELS.build(backbone)
        if neck is None:
            decode_head = fit_head(decode_head, built)
            auxiliary_head = fit_head(auxiliary_head, built)
        super().__init__(
            *args,
            # The host builds what it is given a config of; this one has been built already.
            backbone=dict(type=lambda: built),
            decode_head=decode_head,
            neck=fit_neck(neck, built),
            auxiliary_head=auxiliary_head,
            **kwargs,
        )
        if (self.test_cfg or {}).get("mode") == "slide":
            slide_options(self.test_cfg, self.backbone)  # bad ones stop here, not after training

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

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Losses of a batch; see ``EncoderDecoder.loss``."""
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super().loss(inputs, data_samples)

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        """Predictions of a batch; see ``EncoderDecoder.predict``."""
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super().predict(inputs, data_samples)

    def _forward(self, inputs: Tensor, data_samples: list | None = None) -> Tensor:
        with self._conditioned_on(gather_domain(data_samples, inputs)):
            return super()._forward(inputs, data_samples)

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits ``(B, N, H, W)``, averaged over overlapping windows.

        Equal to the stock loop's, but ``test_cfg.windows_per_batch`` windows are computed at once.

        Raises:
            ValueError: If an option of ``test_cfg`` is not valid or the backbone cannot encode.
        """
        options = slide_options(self.test_cfg, self.backbone)
        source, unit = inputs, 1
        if options.whole_latent:
            unit = self.backbone.latent_stride
            source = self._encode_image(inputs, unit)
        size = tuple(source.shape[2:])
        crop = tuple(min(-(-c // unit), s) for c, s in zip(options.crop, size, strict=True))
        stride = tuple(max(step // unit, 1) for step in options.stride)
        pixels = crop[0] * unit, crop[1] * unit
        domain = self._condition.domain

        def predict(chunk: Sequence[tuple[int, int]]) -> Tensor:
            metas = self._window_metas(batch_img_metas, pixels, len(chunk))
            latent_of = pixels if options.whole_latent else None
            with self._conditioned_on(domain, windows=len(chunk), latent_of=latent_of):
                logits = self.encode_decode(cut_windows(source, chunk, crop), metas)
            return logits.unflatten(0, (len(chunk), len(inputs)))

        positions = window_positions(size, crop, stride)
        logits = accumulate_windows(positions, crop, size, predict, options.windows_per_batch, unit)
        return logits[:, :, : inputs.shape[2], : inputs.shape[3]]

    def _encode_image(self, inputs: Tensor, unit: int) -> Tensor:
        """The latent of whole images, their last rows and columns repeated to whole latents."""
        bottom, right = (-length % unit for length in inputs.shape[2:])
        if bottom or right:
            inputs = F.pad(inputs, (0, right, 0, bottom), mode="replicate")
        return self.backbone.encode(inputs)

    @staticmethod
    def _window_metas(metas: list[dict], crop: tuple[int, int], windows: int) -> list[dict]:
        # Heads tell windows from whole images by the type of img_shape; Mask2Former's asks for
        # the padded size first.
        size = torch.Size(crop)
        return [{**meta, "img_shape": size, "pad_shape": size} for meta in metas] * windows


@MODELS.register_module()
class DominoEncoderDecoder(_DomainConditioned, EncoderDecoder):
    """MMSegmentation's ``EncoderDecoder`` with domain embeddings.

    Takes the arguments of ``EncoderDecoder``. Over ``DominoVPD``, a neck without ``in_channels``
    and, without a neck, a head without them take the backbone's. A backbone or neck whose class
    says ``accepts_domain = True`` is called with what ``LoadDomainEmbedding``, ``EncodeDomain`` or
    ``DominoDataPreProcessor`` put on the samples (see :func:`~.conditioning.gather_domain`), and
    takes the embeddings of the space that it names; every other part is used as it is.
    """


@MODELS.register_module()
class DominoCascadeEncoderDecoder(_DomainConditioned, CascadeEncoderDecoder):
    """MMSegmentation's ``CascadeEncoderDecoder`` with domain embeddings.

    See :class:`DominoEncoderDecoder`.
    """
