"""Segmentors that carry each image's domain embedding to the backbone and the neck.

Shapes: ``B`` batch, ``D`` embedding width, ``N`` classes, ``H W`` spatial.
"""

from collections.abc import Sequence

import torch
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ...utils.windows import window_positions
from ..channels import fit_head, fit_neck
from ..conditioning import DomainConditioned
from .slide import accumulate_windows, cut_windows, slide_options


class _DomainConditioned(DomainConditioned):
    """What Domino adds to a stock segmentor: the embeddings, and sliding windows in batches.

    ``test_cfg`` takes, besides the stock keys, for ``mode='slide'``:

    - ``windows_per_batch`` (int, 1): how many windows go through the network at once. The result
      does not depend on it (to rounding).
    - ``latent`` (str, ``'window'``): with ``'image'`` a backbone that can encode (``DominoVPD``)
      encodes the whole image once and the windows are cut from the latent. The grid of windows is
      then one of whole latents and each window sees its surroundings through the encoder, so the
      result differs.
    """

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

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Logits ``(B, N, H, W)``, averaged over overlapping windows.

        Equal to the stock loop's, but ``test_cfg.windows_per_batch`` windows are computed at once.
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
    ``DominoDataPreProcessor`` put on the samples (see
    :func:`~mmseg_domino.models.conditioning.gather_domain`), and takes the embeddings of the space
    that it names; every other part is used as it is.
    """


@MODELS.register_module()
class DominoCascadeEncoderDecoder(_DomainConditioned, CascadeEncoderDecoder):
    """MMSegmentation's ``CascadeEncoderDecoder`` with domain embeddings.

    See :class:`DominoEncoderDecoder`.
    """
