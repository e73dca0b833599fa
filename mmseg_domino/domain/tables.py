"""A trained table of domain embeddings.

Shapes: ``B`` batch, ``K`` domains, ``D`` embedding width.
"""

import torch
from torch import Tensor, nn

from .store import EmbeddingStore


class LearnedDomainTable(nn.Module):
    """One trained vector a domain: ``weights @ table``.

    A domain that no training sample belongs to keeps its initial vector, so with one source domain
    only this asks for synthetic samples of the others, or for the text as a start.

    Args:
        num_domains: ``K``.
        channels: ``D``.
        init_store: A store whose text embeddings the table starts from; ``None`` for a normal
            distribution with standard deviation 0.02, as token embeddings start.
        space: Which of the store's text embeddings.

    Raises:
        ValueError: If the store's table is not ``(K, D)``.

    Shape:
        - Input: weights ``(B, K)``, one-hot or summing to 1.
        - Output: ``(B, D)``.
    """

    def __init__(
        self,
        num_domains: int,
        channels: int,
        init_store: str | None = None,
        space: str = "context",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_domains, channels))
        if init_store is None:
            nn.init.normal_(self.weight, std=0.02)
            return
        start = EmbeddingStore.open(init_store).text.table(space)
        if start.shape != self.weight.shape:
            raise ValueError(
                f"the {space} text embeddings of {init_store} have the shape {tuple(start.shape)}, "
                f"the table ({num_domains}, {channels})"
            )
        self.weight.data.copy_(start)

    def forward(self, weights: Tensor) -> Tensor:
        if weights.ndim != 2 or weights.shape[1] != len(self.weight):
            raise ValueError(
                f"LearnedDomainTable expects weights (B, {len(self.weight)}), got "
                f"{tuple(weights.shape)}. The samples must come with source='learned' and a bank "
                f"of {len(self.weight)} domains."
            )
        return weights.to(self.weight) @ self.weight
