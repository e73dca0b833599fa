"""From images to the latents that a diffusion UNet reads, by an encoder that is never trained.

Shapes: ``B`` batch, ``H W`` the image's size.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from ...domain.encoder_weights import hash_weights
from ..kernels import full_precision
from .fast_layers import use_fast_layers
from .latent_cache import LatentCache

LATENT_MODES = ("mode", "sample")
#: Stable Diffusion's factor from the autoencoder's latents to those that the diffusion runs on.
SD_SCALE = 0.18215
VAE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LatentEncoder(nn.Module):
    """The encoder of an autoencoder: frozen, in evaluation mode and without a graph, always.

    Args:
        vae: ``AutoencoderKL``, or ``AutoencoderTiny`` (TAESD) in its place. TAESD's latents are
            those of the diffusion, so they are divided by 0.18215 to be like the other's.
        mode: ``"mode"`` of the posterior, or a ``"sample"`` of it. TAESD has no posterior.
        scale: Factor of the latent.
        batch: Images at a time; None for all at once. Only memory depends on it.
        dtype: A key of :data:`VAE_DTYPES` to compute in; None follows the surrounding autocast.
        compiler: Makes the encoder's pass faster, such as ``torch.compile``; None leaves it.
        cache: Folder that keeps latents, so that none is computed twice; see :class:`LatentCache`.

    Shape:
        - Input: ``(B, 3, H, W)`` in [-1, 1], sides multiples of 8.
        - Output: ``(B, 4, H / 8, W / 8)``, float32.

    Raises:
        ValueError: For an unknown mode or dtype, a batch below 1, or a sample of TAESD or with
            ``cache``.
    """

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny,
        mode: str = "mode",
        scale: float = 1.0,
        batch: int | None = None,
        dtype: str | None = None,
        compiler: Callable | None = None,
        cache: str | None = None,
    ) -> None:
        super().__init__()
        self.is_tiny = isinstance(vae, AutoencoderTiny)
        if mode not in LATENT_MODES:
            raise ValueError(f"vae.latent must be 'mode' or 'sample', got {mode!r}")
        if mode == "sample" and self.is_tiny:
            raise ValueError(
                "vae.latent='sample' needs an AutoencoderKL: AutoencoderTiny (TAESD) has no "
                "posterior to sample from; use vae.latent='mode'"
            )
        if mode == "sample" and cache is not None:
            raise ValueError(
                "vae.cache would give the same sample of an image each time; use vae.latent='mode'"
            )
        if batch is not None and batch < 1:
            raise ValueError(f"vae.batch must be at least 1, or None for all; got {batch}")
        if dtype is not None and dtype not in VAE_DTYPES:
            raise ValueError(
                f"vae.dtype must be one of {', '.join(VAE_DTYPES)} or None, got {dtype!r}"
            )
        self.mode, self.batch, self.dtype = mode, batch, dtype
        self.factor = scale / SD_SCALE if self.is_tiny else scale
        self.encoder = use_fast_layers(vae.encoder)
        self.quant_conv = None if self.is_tiny else vae.quant_conv
        self._moments = _moments if compiler is None else compiler(_moments)
        self.cache = None if cache is None else LatentCache(cache)
        self._weights_hash: str | None = None
        self.register_load_state_dict_post_hook(lambda part, _: part.forget_weights())
        self.train()

    def forget_weights(self) -> None:
        """Say that the weights are others now, so that the cache does not take them for those."""
        self._weights_hash = None

    def train(self, mode: bool = True):
        """Stay frozen and in evaluation mode whatever is asked for."""
        super().train(False)
        return self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        with self._precision(x.device):
            if self.cache is not None:
                return self.cache(x, self._made_by(x.device.type), self._encode) * self.factor
            # Not split by the batch's own size, of which an exported graph cannot count the parts.
            given = x.split(self.batch) if self.batch else (x,)
            parts = [self._encode(part) for part in given]
        return torch.cat(parts) * self.factor

    def _made_by(self, device: str) -> str:
        """What a latent depends on besides the image."""
        if self._weights_hash is None:
            self._weights_hash = hash_weights(self.state_dict())
        lower = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return f"{self._weights_hash} {device} {lower}"

    def _encode(self, x: Tensor) -> Tensor:
        moments = self._moments(self.encoder, self.quant_conv, x).float()
        if self.is_tiny:
            return moments
        posterior = DiagonalGaussianDistribution(moments)
        return posterior.mode() if self.mode == "mode" else posterior.sample()

    def _precision(self, device: torch.device) -> AbstractContextManager:
        if self.dtype is None:
            return nullcontext()
        if self.dtype == "float32":
            return full_precision(device)
        return torch.autocast(device.type, dtype=VAE_DTYPES[self.dtype])


def _moments(encoder: nn.Module, quant_conv: nn.Module | None, x: Tensor) -> Tensor:
    """What an encoder says of images: moments of the latents, or TAESD's latents themselves."""
    moments = encoder(x)
    return moments if quant_conv is None else quant_conv(moments)
