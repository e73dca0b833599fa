"""Attention that gives away where each class token is attended to.

Shapes: ``B`` batch, ``M`` rows of the context, ``N`` classes, ``L`` positions (``h * w``) of a
level, ``D`` context width.
"""

import torch
from torch import Tensor, nn

from ..kernels import attention, full_precision


class AttentionMapProcessor:
    """A diffusers attention processor that can tell its map of the class tokens.

    Asked for its map, it computes the probabilities explicitly, since they are wanted, and a
    context of some tens of tokens makes that as cheap as a fused kernel; scores and probabilities
    are float32 whatever the autocast. Otherwise it uses a fused kernel.

    The context has ``M`` rows and ``B`` is a multiple of it: row ``m`` serves the images ``m``,
    ``m + M``, ... Its keys and values are computed once for all of them.

    Call with ``maps``, a list, to have the map ``(B, L, N)``, the mean over heads, appended to it.
    Self-attention (no ``encoder_hidden_states``) has none and leaves the list as it is.

    Args:
        num_classes: ``N``; further tokens get no map.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    # No nn.Module: diffusers reads the names of the arguments off __call__.
    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        maps: list[Tensor] | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, rows = hidden_states.shape[0], context.shape[0]

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        def serve(x: Tensor) -> Tensor:
            if rows == batch:
                return x
            return x.repeat(batch // rows, 1, 1, 1) if rows > 1 else x.expand(batch, -1, -1, -1)

        query = split(attn.to_q(hidden_states))
        key, value = (serve(split(project(context))) for project in (attn.to_k, attn.to_v))
        if encoder_hidden_states is None or maps is None:
            out = attention(query, key, value, attn.scale)
        else:
            probabilities = self._probabilities(query, key, attn.scale)
            maps.append(probabilities[..., : self.num_classes].mean(dim=1))
            out = torch.matmul(probabilities.to(value.dtype), value)
        out = out.transpose(1, 2).flatten(2).to(hidden_states.dtype)
        return attn.to_out[1](attn.to_out[0](out))

    @staticmethod
    def _probabilities(query: Tensor, key: Tensor, scale: float) -> Tensor:
        # In half precision a score of 10 is only known to 0.04, and the maps are features.
        with full_precision(query.device):
            scores = torch.matmul(query.float() * scale, key.float().transpose(-1, -2))
            return scores.softmax(dim=-1)
