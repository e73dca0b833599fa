"""Stable Diffusion's UNet as a backbone (VPD, ICCV 2023), conditioned on each image's domain.

Shapes: ``B`` batch, ``N`` classes, ``D`` context width, ``C`` channels of a feature level,
``H W`` the image's size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..layers.attention_maps import AttentionMapProcessor, AttentionMaps
from ..layers.class_context import ClassContext
from .sd_models import build_models, encode_classes, expand_path

__all__ = ["DominoVPD"]

#: Strides of the four feature levels.
STRIDES = (8, 16, 32, 64)
_FINETUNE = ("full", "frozen")
#: The mean norm of CLIP ViT-L/14's class embeddings, which random ones imitate.
_CONTEXT_NORM = 28.5


@MODELS.register_module()
class DominoVPD(BaseModule):
    """VPD's features under Domino's cross-attention.

    The image is encoded to a latent without noise, the UNet runs once at ``timestep`` over the
    class tokens, and four levels of its decoder come out, finest first, with strides 8, 16, 32 and
    64. To the first three, the averaged cross-attention maps of their resolution are appended as
    ``N`` channels, if the level has at most ``max_map_tokens`` positions.

    Inputs are RGB in [-1, 1]: ``mean = std = 127.5`` and ``bgr_to_rgb=True`` in the data
    preprocessor. Sides that are no multiples of 64 are padded by repeating the border, and the
    features cut back to ``ceil(H / stride)``.

    Args:
        weights: A diffusers folder, a hub name, an original single file (``.safetensors`` or
            ``.ckpt``), or ``"random"``, which needs ``architecture``.
        classes: ``N`` class names, embedded by the text tower of ``weights``.
        class_embeddings: A safetensors file with ``class_embeddings`` ``(N, D)``, in place of
            ``classes``. With random weights and neither, ``num_classes`` random ones.
        num_classes: ``N``, to check the two against.
        injection: How the domain enters the context: ``"subtract"`` (the paper's best), ``"add"``,
            ``"concat"`` or ``"none"``.
        domain_scale: Factor of the embedding in ``add`` and ``subtract``.
        attention_maps: Append attention maps.
        max_map_tokens: Largest number of positions of a level whose maps are appended. VPD drops
            maps larger than 32 x 32.
        timestep: Of the diffusion process, for every image. VPD: 1.
        latent_mode: ``"mode"`` of the posterior (VPD) or a ``"sample"`` of it (TADP).
        latent_scale: Factor of the latent: 1 (VPD), or 0.18215 as in diffusion training (TADP).
        finetune: ``"full"`` trains the UNet, ``"frozen"`` only the text adapter. The VAE is always
            frozen.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        architecture: For random weights, and single files of an unpublished size: ``"sd15"``,
            ``"sd21"``, or a dict or JSON file with diffusers' or LDM's arguments of ``unet`` and
            ``vae``.
        init_cfg: MMEngine's initialisation config.

    Shape:
        - ``x``: ``(B, 3, H, W)``; ``domain``: ``(B, D)`` in ``context`` space.
        - Output: four of ``(B, C, ceil(H / stride), ceil(W / stride))``; see :attr:`out_channels`.

    Raises:
        ValueError: For unknown options, or classes, embeddings and UNet that do not fit.
        FileNotFoundError: If weights are missing; says how to get them.
    """

    accepts_domain = True
    #: Pixels a latent.
    latent_stride = 8

    def __init__(
        self,
        weights: str,
        classes: Sequence[str] | None = None,
        class_embeddings: str | None = None,
        num_classes: int | None = None,
        injection: str = "subtract",
        domain_scale: float = 1.0,
        attention_maps: bool = True,
        max_map_tokens: int = 32 * 32,
        timestep: int = 1,
        latent_mode: str = "mode",
        latent_scale: float = 1.0,
        finetune: str = "full",
        gradient_checkpointing: bool = False,
        architecture: str | Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if latent_mode not in ("mode", "sample"):
            raise ValueError(f"latent_mode must be 'mode' or 'sample', got {latent_mode!r}")
        if finetune not in _FINETUNE:
            raise ValueError(f"finetune must be one of {', '.join(_FINETUNE)}; got {finetune!r}")
        weights = expand_path(str(weights))
        self.unet, self.vae = build_models(weights, architecture)
        tokens = self._class_embeddings(weights, classes, class_embeddings, num_classes)
        width = self.unet.config.cross_attention_dim
        if tokens.shape[1] != width:
            raise ValueError(
                f"the class embeddings are {tokens.shape[1]} wide, the UNet's cross-attention "
                f"takes {width} (Stable Diffusion 1.x: 768, 2.x: 1024)"
            )
        if num_classes is not None and len(tokens) != num_classes:
            raise ValueError(
                f"there are {len(tokens)} class embeddings and num_classes is {num_classes}; the "
                "class names, the embeddings and the head's num_classes must agree"
            )
        self.context = ClassContext(tokens, injection=injection, domain_scale=domain_scale)
        self.attention_maps = attention_maps
        self.max_map_tokens = max_map_tokens
        self.timestep = timestep
        self.latent_mode, self.latent_scale = latent_mode, latent_scale
        self.finetune, self.gradient_checkpointing = finetune, gradient_checkpointing
        self._maps = AttentionMaps()
        self._prepare()

    def _class_embeddings(
        self,
        weights: str,
        classes: Sequence[str] | None,
        class_embeddings: str | None,
        num_classes: int | None,
    ) -> Tensor:
        if class_embeddings is not None:
            path = Path(expand_path(class_embeddings))
            if not path.is_file():
                raise FileNotFoundError(f"there is no file of class embeddings at {path}")
            tensors = load_file(path)
            if "class_embeddings" not in tensors:
                raise ValueError(
                    f"{path} has no tensor `class_embeddings`; it holds {sorted(tensors)}"
                )
            return tensors["class_embeddings"]
        if weights != "random":
            if classes is None:
                raise ValueError("DominoVPD needs `classes` or `class_embeddings`")
            return encode_classes(weights, classes)
        count = len(classes) if classes is not None else num_classes
        if count is None:
            raise ValueError("with weights='random' give `classes` or `num_classes`")
        width = self.unet.config.cross_attention_dim
        return F.normalize(torch.randn(count, width), dim=1) * _CONTEXT_NORM

    def _prepare(self) -> None:
        """Freeze what is not trained, place the attention processors."""
        self.vae.requires_grad_(False)
        if self.finetune == "frozen":
            self.unet.requires_grad_(False)
        if self.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        processors = {}
        for name in self.unet.attn_processors:
            if ".attn2." not in name:
                processors[name] = AttnProcessor2_0()
                continue
            level = self._level_of(name)
            # Level 3 has no maps: the mid block is left out of the average, as in VPD.
            maps = self._maps if self.attention_maps and level < 3 else None
            processors[name] = AttentionMapProcessor(level, self.context.num_classes, maps)
        self.unet.set_attn_processor(processors)

    @staticmethod
    def _level_of(processor: str) -> int:
        kind, index = processor.split(".")[:2]
        if kind == "mid_block":
            return 3
        return int(index) if kind == "down_blocks" else 3 - int(index)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the four levels at an input of 512 x 512, attention maps included."""
        return self.channels_at(512, 512)

    def channels_at(self, height: int, width: int) -> tuple[int, ...]:
        """Channels of the four levels for an image of a size."""
        channels = tuple(self.unet.config.block_out_channels)
        h, w = (-(-length // 64) * 64 for length in (height, width))
        return tuple(
            c + self.context.num_classes * self._has_map(level, (h // stride) * (w // stride))
            for level, (c, stride) in enumerate(zip(channels, STRIDES, strict=True))
        )

    def _has_map(self, level: int, tokens: int) -> bool:
        return self.attention_maps and level < 3 and tokens <= self.max_map_tokens

    def train(self, mode: bool = True):
        """As ``nn.Module.train``; the VAE stays in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        return self

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Latents ``(B, 4, H / 8, W / 8)`` of images whose sides are multiples of 8."""
        posterior = self.vae.encode(x).latent_dist
        latent = posterior.mode() if self.latent_mode == "mode" else posterior.sample()
        return latent * self.latent_scale

    def forward_latent(
        self, latent: Tensor, domain: Tensor | None, image_hw: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        """Features of latents, cut to those of an image of ``image_hw``."""
        pad = [-length % 8 for length in latent.shape[-2:]]
        if any(pad):
            latent = F.pad(latent, (0, pad[1], 0, pad[0]), mode="replicate")
        context = self.context(domain, len(latent))
        self._maps.open()
        try:
            features = self._run_unet(latent, context)
        finally:
            maps = self._maps.close()
        return tuple(
            self._finish(level, feature, maps.get(level), image_hw)
            for level, feature in enumerate(features)
        )

    def _finish(
        self, level: int, feature: Tensor, attention: Tensor | None, image_hw: tuple[int, int]
    ) -> Tensor:
        """Append the level's map and cut the padding off."""
        h, w = feature.shape[-2:]
        if attention is not None and self._has_map(level, h * w):
            attention = attention.transpose(1, 2).unflatten(2, (h, w))
            feature = torch.cat([feature, attention.to(feature.dtype)], dim=1)
        rows, columns = (-(-length // STRIDES[level]) for length in image_hw)
        return feature[..., :rows, :columns]

    def forward(self, x: Tensor, domain: Tensor | None = None) -> tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        pad = -height % 64, -width % 64
        if any(pad):
            x = F.pad(x, (0, pad[1], 0, pad[0]), mode="replicate")
        return self.forward_latent(self.encode(x), domain, (height, width))

    def _run_unet(self, latent: Tensor, context: Tensor) -> list[Tensor]:
        unet = self.unet
        time = unet.get_time_embed(sample=latent, timestep=self.timestep)
        temb = unet.time_embedding(time)
        hidden = unet.conv_in(latent)
        skips = [hidden]
        for block in unet.down_blocks:
            if getattr(block, "has_cross_attention", False):
                hidden, states = block(hidden, temb=temb, encoder_hidden_states=context)
            else:
                hidden, states = block(hidden, temb=temb)
            skips.extend(states)
        hidden = unet.mid_block(hidden, temb, encoder_hidden_states=context)
        features = []
        for block in unet.up_blocks:
            hidden, feature = self._run_up_block(block, hidden, skips, temb, context)
            features.insert(0, feature)
        return features

    def _run_up_block(
        self, block: nn.Module, hidden: Tensor, skips: list[Tensor], temb: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run one decoder block; its feature is what the second layer gives.

        The finest block's is what the last gives. It takes skips off the list, as it uses them.
        """
        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        outputs = []
        for resnet, attention in zip(block.resnets, attentions, strict=True):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(resnet, hidden, temb, use_reentrant=False)
            else:
                hidden = resnet(hidden, temb)
            if attention is not None:
                hidden = attention(hidden, encoder_hidden_states=context, return_dict=False)[0]
            outputs.append(hidden)
        if block.upsamplers is None:
            return hidden, hidden
        for upsampler in block.upsamplers:
            hidden = upsampler(hidden)
        return hidden, outputs[1]
