"""Stable Diffusion's UNet as a backbone (VPD, ICCV 2023), conditioned on each image's domain.

Shapes: ``B`` batch, ``M`` images that the batch holds windows of, ``N`` classes, ``D`` context
width, ``C`` channels of a feature level, ``H W`` the image's size.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ..adapters.frozen_state import keep_out_frozen
from ..diffusion.class_embeddings import CLASS_CACHE, find_class_embeddings
from ..diffusion.fast_layers import use_fast_layers
from ..diffusion.finetune import prepare_finetuning
from ..diffusion.latent_encoder import LatentEncoder
from ..diffusion.unet_features import place_processors, unet_features
from ..diffusion.weights import open_vae, open_weights
from ..layers.class_context import ClassContext

__all__ = ["DominoVPD"]

#: Pixels a position of the four feature levels.
STRIDES = (8, 16, 32, 64)
#: The middle block's resolution has no attention but its own, which VPD leaves out.
_MAP_STRIDES = STRIDES[:3]


@MODELS.register_module()
class DominoVPD(BaseModule):
    """VPD's features under Domino's cross-attention.

    The image is encoded to a latent without noise, the UNet runs once at ``timestep`` over the
    class tokens, and four levels of its decoder come out, finest first, with strides 8, 16, 32 and
    64. To those named by ``attention_maps``, the averaged cross-attention maps of their resolution
    are appended as ``N`` channels.

    Inputs are RGB in [-1, 1]: ``mean = std = 127.5`` and ``bgr_to_rgb=True`` in the data
    preprocessor. Sides that are no multiples of 64 are padded by repeating the border, and the
    features cut back to ``ceil(H / stride)``.

    Args:
        weights: A diffusers folder, a hub name, an original single file (``.safetensors`` or
            ``.ckpt``), or ``"random"``, which needs ``architecture``.
        classes: ``N`` class names, embedded by the text tower of ``weights``.
        class_embeddings: A safetensors file with ``class_embeddings`` ``(N, D)``, as
            ``domino vpd embed`` writes it. With random weights and no text tower, random
            ones are the default.
        num_classes: ``N``, to check the two against.
        text_encoder: Another text tower for ``classes``: a diffusers folder or hub name, or
            ``"open_clip:MODEL:PRETRAINED"``.
        class_cache: Folder that keeps the embeddings of class names; None for none.
        vae: Another encoder in place of that of ``weights``: a diffusers folder of an
            ``AutoencoderKL`` or ``AutoencoderTiny``, or TAESD's original file.
        vae_batch: Images that the encoder gets at a time; None for all. Saves memory.
        vae_dtype: Precision of the encoder; see :class:`LatentEncoder`.
        injection: How the domain enters the context: ``"subtract"`` (the paper's best), ``"add"``,
            ``"concat"`` or ``"none"``.
        domain_scale: Factor of the embedding in ``add`` and ``subtract``.
        attention_maps: Strides of the levels that get attention maps, of 8, 16 and 32. VPD: maps
            of up to 32 x 32 positions at 512 x 512, so 16 and 32.
        timestep: Of the diffusion process, for every image. VPD: 1.
        latent_mode: ``"mode"`` of the posterior (VPD) or a ``"sample"`` of it (TADP).
        latent_scale: Factor of the latent: 1 (VPD), or 0.18215 as in diffusion training (TADP).
        finetune: ``"full"`` trains the UNet, ``"lora"`` adapters, ``"norms"`` its normalisation
            layers, ``"frozen"`` nothing of it. The text adapter is trained in each case, the VAE
            in none.
        lora: Options for ``"lora"``; see :func:`~.vpd_finetune.prepare_finetuning`.
        save_frozen: Whether state dicts hold frozen weights. If not, they are restored from
            ``weights`` and ``vae``.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        channels_last: Lay convolutions out with channels last.
        compile: Compile the passes of UNet and encoder with ``torch.compile``; a dict has its
            arguments, such as ``dict(mode="reduce-overhead")`` for CUDA graphs.
        architecture: For random weights, and single files of an unpublished size: ``"sd15"``,
            ``"sd21"``, or a dict with diffusers' or LDM's arguments of ``unet`` and ``vae``.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - ``x``: ``(B, 3, H, W)``; ``domain``: ``(B, D)`` in ``context`` space.
        - Output: four of ``(B, C, ceil(H / stride), ceil(W / stride))``; see :attr:`out_channels`.

    Raises:
        ValueError: For unknown options, or classes, embeddings and UNet that do not fit.
        FileNotFoundError: If weights are missing; says how to get them.
    """

    accepts_domain = True
    #: Takes several windows of each image with one embedding an image.
    accepts_windows = True
    #: Pixels a latent.
    latent_stride = 8

    def __init__(
        self,
        weights: str,
        classes: Sequence[str] | None = None,
        class_embeddings: str | None = None,
        num_classes: int | None = None,
        text_encoder: str | None = None,
        class_cache: str | None = CLASS_CACHE,
        vae: str | None = None,
        vae_batch: int | None = None,
        vae_dtype: str | None = None,
        injection: str = "subtract",
        domain_scale: float = 1.0,
        attention_maps: Sequence[int] = (16, 32),
        timestep: int = 1,
        latent_mode: str = "mode",
        latent_scale: float = 1.0,
        finetune: str = "full",
        lora: Mapping | None = None,
        save_frozen: bool = True,
        gradient_checkpointing: bool = False,
        channels_last: bool = False,
        compile: bool | Mapping = False,
        architecture: str | Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.attention_maps = _check_strides(attention_maps)
        self.timestep = _check_timestep(timestep)
        self.gradient_checkpointing, self.channels_last = gradient_checkpointing, channels_last
        source = open_weights(weights, architecture)
        self.unet = source.unet()
        autoencoder = source.vae() if vae is None else open_vae(vae)
        compiler = None
        if compile:
            options = compile if isinstance(compile, Mapping) else {}
            compiler = partial(torch.compile, **options)
        self.vae = LatentEncoder(
            autoencoder, latent_mode, latent_scale, vae_batch, vae_dtype, compiler
        )
        tokens = find_class_embeddings(
            source,
            self.unet.config.cross_attention_dim,
            classes=classes,
            path=class_embeddings,
            num_classes=num_classes,
            text_encoder=text_encoder,
            cache=class_cache,
        )
        self.context = ClassContext(tokens, injection=injection, domain_scale=domain_scale)
        place_processors(self.unet, self.context.num_classes)
        self.finetune = finetune
        prepare_finetuning(self.unet, finetune, lora)
        use_fast_layers(self.unet)
        keep_out_frozen(self, save_frozen)
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self._features = unet_features if compiler is None else compiler(unet_features)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the four levels, attention maps included."""
        return tuple(
            channels + self.context.num_classes * (stride in self.attention_maps)
            for channels, stride in zip(self.unet.config.block_out_channels, STRIDES, strict=True)
        )

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, 4, H / 8, W / 8)`` of images whose sides are multiples of 8.

        They are float32 and have no graph.
        """
        return self.vae(self._laid_out(x))

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def forward_latent(
        self,
        latent: Tensor,
        domain: Tensor | None,
        image_hw: tuple[int, int],
        windows: int = 1,
    ) -> tuple[Tensor, ...]:
        """Features of latents, cut to those of an image of ``image_hw``.

        Args:
            latent: ``(B, 4, h, w)``.
            domain: ``(M, D)``; see :meth:`forward`.
            image_hw: Height and width of the image, in pixels.
            windows: See :meth:`forward`.
        """
        rows, rest = divmod(len(latent), windows)
        if rest:
            raise ValueError(f"a batch of {len(latent)} cannot hold {windows} windows an image")
        # That of half-precision weights, which a UNet for inference may have been given.
        dtype = self.unet.conv_in.weight.dtype
        context = self.context(domain, rows).to(dtype)
        latent = self._laid_out(_pad(latent, 8).to(dtype))
        levels = [level for level, s in enumerate(STRIDES) if s in self.attention_maps]
        features, maps = self._features(
            self.unet, latent, self.timestep, context, levels, self.gradient_checkpointing
        )
        return tuple(
            self._finish(feature, attention, stride, image_hw)
            for feature, attention, stride in zip(features, maps, STRIDES, strict=True)
        )

    @staticmethod
    def _finish(
        feature: Tensor, attention: Tensor | None, stride: int, image_hw: tuple[int, int]
    ) -> Tensor:
        """Append the level's map and cut the padding off."""
        if attention is not None:
            attention = attention.transpose(1, 2).unflatten(2, feature.shape[-2:])
            feature = torch.cat([feature, attention.to(feature.dtype)], dim=1)
        rows, columns = (-(-length // stride) for length in image_hw)
        return feature[..., :rows, :columns]

    def forward(
        self, x: Tensor, domain: Tensor | None = None, windows: int = 1
    ) -> tuple[Tensor, ...]:
        """Features of images.

        Args:
            x: ``(B, 3, H, W)``.
            domain: ``(M, D)``, ``B = M * windows``; not used with ``injection="none"``.
            windows: How many windows of each image the batch holds: a first one of all ``M``
                images, then a second one of all, and so on. Class tokens are then made, and
                projected to keys and values, once an image instead of once a window.
        """
        height, width = x.shape[-2:]
        return self.forward_latent(self.encode(_pad(x, 64)), domain, (height, width), windows)


def _pad(x: Tensor, multiple: int) -> Tensor:
    """Repeat the lower and right border until the sides are multiples of a number."""
    bottom, right = (-length % multiple for length in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def _check_strides(strides: Sequence[int]) -> tuple[int, ...]:
    valid = ", ".join(map(str, _MAP_STRIDES))
    if isinstance(strides, bool | int | str):
        raise ValueError(
            f"attention_maps is a tuple of strides, of {valid}, or () for no maps; got {strides!r}"
        )
    unknown = [s for s in strides if s not in _MAP_STRIDES]
    if unknown or len(set(strides)) != len(strides):
        raise ValueError(
            f"attention_maps holds strides of {valid}, each once; got {tuple(strides)}"
        )
    return tuple(sorted(strides))


def _check_timestep(timestep: int) -> int:
    if isinstance(timestep, bool) or not isinstance(timestep, int) or not 0 <= timestep < 1000:
        raise ValueError(f"timestep is a whole number from 0 to 999 (VPD: 1), got {timestep!r}")
    return timestep
