"""The same layers of diffusers' models with fewer passes over memory.

Classes are exchanged in place: parameters, their names and hooks stay as they are, and what is
computed is the same to rounding.

Shapes: ``B`` batch, ``C`` channels, ``H W`` spatial.
"""

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels import attention, use_fast_linear_layers


class FastResnetBlock(ResnetBlock2D):
    """Diffusers' residual block as Stable Diffusion uses it.

    Diffusers divides every output by ``output_scale_factor``, which is 1, copies the input of the
    shortcut in training, and allocates at every step. Without a graph, activations and sums are
    written in place here.
    """

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        inplace = not torch.is_grad_enabled()
        hidden = self.norm1(input_tensor)
        # A norm that was exchanged for nothing would give back the input itself.
        hidden = F.silu(hidden, inplace=inplace and hidden is not input_tensor)
        hidden = self.conv1(hidden)
        if self.time_emb_proj is not None:
            shift = self.time_emb_proj(F.silu(temb))[:, :, None, None]
            hidden = hidden.add_(shift) if inplace else hidden + shift
        hidden = F.silu(self.norm2(hidden), inplace=inplace)
        hidden = self.conv2(self.dropout(hidden))
        if self.conv_shortcut is not None:
            input_tensor = self.conv_shortcut(input_tensor)
        # In place only if the sum has the type of the branch: under autocast they may differ.
        if inplace and hidden.dtype == input_tensor.dtype:
            return hidden.add_(input_tensor)
        return input_tensor + hidden


def _is_plain(block: nn.Module) -> bool:
    """Whether a module is a residual block of the kind that :class:`FastResnetBlock` computes."""
    return (
        type(block) is ResnetBlock2D
        and not block.up
        and not block.down
        and block.output_scale_factor == 1
        and block.time_embedding_norm == "default"
        and not block.skip_time_act
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _is_image_attention(module: nn.Module) -> bool:
    return (
        isinstance(module, Attention)
        and module.group_norm is not None
        and module.residual_connection
        and module.rescale_output_factor == 1
        and not module.is_cross_attention
    )


class ImageAttentionProcessor:
    """Self-attention over the positions of an image ``(B, C, H, W)``, as autoencoders have it."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        image = hidden_states
        positions = attn.group_norm(image).flatten(2).transpose(1, 2)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query, key, value = (split(p(positions)) for p in (attn.to_q, attn.to_k, attn.to_v))
        out = attention(query, key, value, attn.scale).transpose(1, 2).flatten(2)
        out = attn.to_out[1](attn.to_out[0](out))
        out = out.transpose(1, 2).unflatten(2, image.shape[2:])
        return out + image


def use_fast_layers(model: nn.Module) -> nn.Module:
    """Exchange a UNet's or an autoencoder's layers for faster ones, in place.

    Layers of other kinds than Stable Diffusion's are left alone.
    """
    for module in model.modules():
        if _is_plain(module):
            module.__class__ = FastResnetBlock
        elif _is_image_attention(module):
            module.set_processor(ImageAttentionProcessor())
    return use_fast_linear_layers(model)
