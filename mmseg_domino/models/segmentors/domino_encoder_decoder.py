"""Segmentors that carry each image's domain embedding to the backbone and the neck.

Shapes: ``B`` batch, ``D`` embedding width, ``N`` classes, ``H W`` spatial.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from .conditioning import gather_domain
from .slide import accumulate_windows, window_positions

__all__ = ["DominoCascadeEncoderDecoder", "DominoEncoderDecoder"]


def _run(module: nn.Module, x: Tensor | Sequence[Tensor], domain: Tensor | None):
    """Call a backbone or neck with the domain if it takes one."""
    return module(x, domain) if getattr(module, "accepts_domain", False) else module(x)


class _DomainConditioned:
    """What Domino adds to a stock segmentor.

    The host framework calls ``extract_feat(inputs)`` from many places, none of which passes the
    samples on. ``loss``, ``predict`` and ``_forward`` therefore gather the embeddings once a batch
    and hold them for the length of the call; nothing is kept between calls.

    ``test_cfg`` takes, besides the stock keys, for ``mode='slide'``:

    - ``windows_per_batch`` (int, 1): how many windows go through the network at once. The result
      does not depend on it (to rounding).
    - ``latent`` (str, ``'window'``): with ``'image'`` a backbone that can encode (``DominoVPD``)
      encodes the whole image once and the windows are cut from the latent. Window corners are
      then rounded down to whole latents and each window sees the surroundings through the
      encoder, so the result differs.
    """

    #: Tells programs that the embeddings of the samples reach the model.
    carries_domain = True

    _domain: Tensor | None = None
    _latent_of: tuple[int, int] | None = None

    @contextmanager
    def _conditioned_on(
        self, domain: Tensor | None, latent_of: tuple[int, int] | None = None
    ) -> Iterator[None]:
        """Hold the embeddings, and the image size behind a latent given in place of images."""
        before = self._domain, self._latent_of
        self._domain, self._latent_of = domain, latent_of
        try:
            yield
        finally:
            self._domain, self._latent_of = before

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """Features of images ``(B, 3, H, W)`` under the batch's domain embeddings."""
        if self._latent_of is not None:
            features = self.backbone.forward_latent(inputs, self._domain, self._latent_of)
        else:
            features = _run(self.backbone, inputs, self._domain)
        return _run(self.neck, features, self._domain) if self.with_neck else features

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
            ValueError: If ``test_cfg.latent`` is unknown or the backbone cannot encode.
        """
        latent = self.test_cfg.get("latent", "window")
        if latent not in ("window", "image"):
            raise ValueError(f"test_cfg.latent must be 'window' or 'image', got {latent!r}")
        size = tuple(inputs.shape[2:])
        crop = tuple(
            min(c, length) for c, length in zip(self.test_cfg.crop_size, size, strict=True)
        )
        positions = window_positions(size, crop, tuple(self.test_cfg.stride))
        source, factor = inputs, 1
        if latent == "image":
            source, factor, positions, crop = self._encode_image(inputs, positions, crop)

        def predict(chunk: Sequence[tuple[int, int]]) -> Tensor:
            h, w = (length // factor for length in crop)
            windows = torch.cat(
                [
                    source[:, :, y // factor : y // factor + h, x // factor : x // factor + w]
                    for y, x in chunk
                ]
            )
            domain = None if self._domain is None else self._domain.repeat(len(chunk), 1)
            metas = self._window_metas(batch_img_metas, crop, len(chunk))
            with self._conditioned_on(domain, crop if latent == "image" else None):
                logits = self.encode_decode(windows, metas)
            return logits.unflatten(0, (len(chunk), len(inputs)))

        return accumulate_windows(positions, crop, size, predict, self._windows_per_batch)

    def _encode_image(
        self, inputs: Tensor, positions: list[tuple[int, int]], crop: tuple[int, int]
    ) -> tuple[Tensor, int, list[tuple[int, int]], tuple[int, int]]:
        """The latent of whole images, pixels a latent, and windows that fall on whole latents."""
        if not hasattr(self.backbone, "encode"):
            raise ValueError(
                f"test_cfg.latent='image' needs a backbone that encodes images to a latent "
                f"(DominoVPD); {type(self.backbone).__name__} does not. Leave it at 'window'."
            )
        factor = self.backbone.latent_stride
        if any(length % factor for length in (*crop, *inputs.shape[2:])):
            raise ValueError(
                f"test_cfg.latent='image' needs image and window sizes that are multiples of "
                f"{factor}; got an image of {tuple(inputs.shape[2:])} and windows of {crop}"
            )
        aligned = [(y // factor * factor, x // factor * factor) for y, x in positions]
        return self.backbone.encode(inputs), factor, aligned, crop

    @property
    def _windows_per_batch(self) -> int:
        count = self.test_cfg.get("windows_per_batch", 1)
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"test_cfg.windows_per_batch must be a positive int, got {count!r}")
        return count

    @staticmethod
    def _window_metas(metas: list[dict], crop: tuple[int, int], windows: int) -> list[dict]:
        # The heads tell windows from whole images by the type of img_shape.
        return [{**meta, "img_shape": torch.Size(crop)} for meta in metas] * windows


@MODELS.register_module()
class DominoEncoderDecoder(_DomainConditioned, EncoderDecoder):
    """MMSegmentation's ``EncoderDecoder`` with domain embeddings.

    Takes the arguments of ``EncoderDecoder``. A backbone or neck whose class says
    ``accepts_domain = True`` is called with the embeddings ``(B, D)`` that
    ``LoadDomainEmbedding``, ``EncodeDomain`` or ``DominoDataPreProcessor`` put on the samples;
    every other part is used as it is.
    """


@MODELS.register_module()
class DominoCascadeEncoderDecoder(_DomainConditioned, CascadeEncoderDecoder):
    """MMSegmentation's ``CascadeEncoderDecoder`` with domain embeddings.

    See :class:`DominoEncoderDecoder`.
    """
