"""Cross-attention that gives away where each class token is attended to.

Shapes: ``B`` batch, ``N`` classes, ``L`` positions (``h * w``) of a level, ``D`` context width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionMapProcessor", "AttentionMaps"]


class AttentionMaps:
    """Running means of cross-attention maps, one a resolution level.

    Only sums are kept, never the layers' maps. Between forward passes it is closed: what gradient
    checkpointing recomputes in the backward pass is dropped.
    """

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}
        self._open = False

    def open(self) -> None:
        """Start a forward pass."""
        self._sums, self._counts, self._open = {}, {}, True

    def add(self, level: int, probabilities: Tensor) -> None:
        """Add a layer's map.

        Args:
            level: Resolution level, 0 the finest.
            probabilities: ``(B, L, N)``, the mean over heads.
        """
        if not self._open:
            return
        before = self._sums.get(level)
        self._sums[level] = probabilities if before is None else before + probabilities
        self._counts[level] = self._counts.get(level, 0) + 1

    def close(self) -> dict[int, Tensor]:
        """End the pass and return the mean map ``(B, L, N)`` of each level that has one."""
        means = {level: total / self._counts[level] for level, total in self._sums.items()}
        self._sums, self._counts, self._open = {}, {}, False
        return means


class AttentionMapProcessor(nn.Module):
    """A diffusers attention processor for cross-attention over few tokens.

    With ``maps`` it computes the probabilities explicitly, since they are wanted, and a context of
    some tens of tokens makes that as cheap as a fused kernel. Without, it uses PyTorch's
    scaled-dot-product attention. The context may have batch size 1: its keys and values are then
    computed once for the whole batch.

    Args:
        level: Resolution level of the layer, 0 the finest.
        num_classes: ``N``; further tokens get no map.
        maps: Where to add the map; ``None`` if this layer's is not used.
    """

    def __init__(self, level: int, num_classes: int, maps: AttentionMaps | None) -> None:
        super().__init__()
        self.level, self.num_classes, self.maps = level, num_classes, maps

    def forward(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        batch = len(hidden_states)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query = split(attn.to_q(hidden_states))
        key = split(attn.to_k(encoder_hidden_states)).expand(batch, -1, -1, -1)
        value = split(attn.to_v(encoder_hidden_states)).expand(batch, -1, -1, -1)
        if self.maps is None:
            out = F.scaled_dot_product_attention(query, key, value)
        else:
            scores = torch.matmul(query, key.transpose(-1, -2)) * attn.scale
            probabilities = scores.float().softmax(dim=-1)
            self.maps.add(self.level, probabilities[..., : self.num_classes].mean(dim=1))
            out = torch.matmul(probabilities.to(value.dtype), value)
        out = out.transpose(1, 2).flatten(2).to(hidden_states.dtype)
        return attn.to_out[1](attn.to_out[0](out))
