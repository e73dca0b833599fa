"""One pass of a diffusion UNet that gives VPD's features and attention maps.

Shapes: ``B`` batch, ``M`` rows of the context, ``N`` classes, ``D`` context width, ``C`` channels,
``H W`` the latent's size.
"""

from collections.abc import Iterator, Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers.attention_maps import AttentionMapProcessor

#: Resolution levels of the UNet, and of the features; 0 is the finest.
LEVELS = 4
#: The middle block's layers count to no level: VPD leaves their maps out.
_MIDDLE = LEVELS


def place_processors(unet: UNet2DConditionModel, num_classes: int) -> None:
    """Have every attention layer use PyTorch's fused kernels, and give its map if asked."""
    unet.set_attn_processor(AttentionMapProcessor(num_classes))


def _layers(block: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """A block's residual layers, each with the attention behind it, if there is one."""
    attentions = list(getattr(block, "attentions", ()))
    attentions += [None] * (len(block.resnets) - len(attentions))
    return zip(block.resnets, attentions, strict=True)


def _run_layer(
    resnet: nn.Module,
    attention: nn.Module | None,
    wants_map: bool,
    hidden: Tensor,
    temb: Tensor,
    context: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """A residual layer and the attention behind it: hidden state, and the map if wanted."""
    hidden = resnet(hidden, temb)
    if attention is None:
        return hidden, None
    maps: list[Tensor] = []  # one: Stable Diffusion has one transformer block a layer
    hidden = attention(
        hidden,
        encoder_hidden_states=context,
        cross_attention_kwargs={"maps": maps} if wants_map else None,
        return_dict=False,
    )[0]
    return hidden, maps[0] if maps else None


class _Pass:
    """What the layers of one forward pass share."""

    def __init__(
        self, temb: Tensor, context: Tensor, map_levels: Sequence[int], checkpointing: bool
    ) -> None:
        self.temb, self.context, self.map_levels = temb, context, map_levels
        self.checkpointing = checkpointing and torch.is_grad_enabled()
        # Sums of the layers' maps by level, never the maps themselves, and their numbers.
        self.sums: dict[int, Tensor] = {}
        self.counts = [0] * (LEVELS + 1)

    def run(
        self, level: int, resnet: nn.Module, attention: nn.Module | None, hidden: Tensor
    ) -> Tensor:
        wants_map = level in self.map_levels
        inputs = (resnet, attention, wants_map, hidden, self.temb, self.context)
        if self.checkpointing:
            hidden, attention_map = checkpoint(_run_layer, *inputs, use_reentrant=False)
        else:
            hidden, attention_map = _run_layer(*inputs)
        if attention_map is not None:
            self.add_map(level, attention_map)
        return hidden

    def add_map(self, level: int, attention_map: Tensor) -> None:
        """Add a layer's map ``(B, positions, N)``; the first of a level is written to."""
        self.counts[level] += 1
        if level in self.sums:
            self.sums[level] += attention_map
        else:
            self.sums[level] = attention_map

    def mean_map(self, level: int) -> Tensor | None:
        """The mean map of a level; None if it has none."""
        return self.sums[level] / self.counts[level] if level in self.sums else None


def unet_features(
    unet: UNet2DConditionModel,
    latent: Tensor,
    timestep: int,
    context: Tensor,
    map_levels: Sequence[int] = (),
    checkpointing: bool = False,
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Run the UNet once, without its output layers.

    Args:
        unet: Its attention layers have the processors of :func:`place_processors`.
        latent: ``(B, 4, H, W)``; sides are multiples of 8.
        timestep: Of the diffusion process, for all samples.
        context: ``(M, N, D)``, with ``B`` a multiple of ``M``; row ``m`` serves the samples ``m``,
            ``m + M``, ...
        map_levels: Levels whose attention maps are wanted: the mean over heads and over the
            level's layers in encoder and decoder.
        checkpointing: Recompute each layer in the backward pass instead of keeping what it
            computed.

    Returns:
        Features ``(B, C, H / 2 ** level, W / 2 ** level)`` of the four levels, finest first: what
        the second layer of a decoder block gives, and for the finest what the last gives. For each
        level its map ``(B, positions, N)`` or None.
    """
    # One row serves all samples: they have the same time.
    temb = unet.time_embedding(unet.get_time_embed(sample=latent[:1], timestep=timestep))
    state = _Pass(temb, context, map_levels, checkpointing)
    hidden = unet.conv_in(latent)
    skips = [hidden]
    for level, block in enumerate(unet.down_blocks):
        for resnet, attention in _layers(block):
            hidden = state.run(level, resnet, attention, hidden)
            skips.append(hidden)
        for downsampler in block.downsamplers or ():
            hidden = downsampler(hidden)
            skips.append(hidden)
    for resnet, attention in _layers(unet.mid_block):
        hidden = state.run(_MIDDLE, resnet, attention, hidden)
    features: list[Tensor] = []
    for level, block in zip(reversed(range(LEVELS)), unet.up_blocks, strict=True):
        outputs = []
        for resnet, attention in _layers(block):
            hidden = torch.cat([hidden, skips.pop()], dim=1)
            hidden = state.run(level, resnet, attention, hidden)
            outputs.append(hidden)
        features.insert(0, outputs[1] if block.upsamplers else outputs[-1])
        for upsampler in block.upsamplers or ():
            hidden = upsampler(hidden)
    return features, [state.mean_map(level) for level in range(LEVELS)]
