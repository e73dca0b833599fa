"""Mask2Former's head whose queries are made of Rein's tokens.

Shapes: ``B`` batch, ``m`` queries, ``Q`` their width.
"""

from collections.abc import Sequence

from mmseg.models.decode_heads import Mask2FormerHead
from mmseg.registry import MODELS
from torch import Tensor, nn


class _Given(nn.Module):
    """Stands for an embedding whose weight is computed elsewhere; set for the length of a pass."""

    weight: Tensor | None = None


@MODELS.register_module()
class ReinMask2FormerHead(Mask2FormerHead):
    """Takes the queries that a backbone with ``link_token_to_query`` gives after its features.

    They are the position embeddings of the queries in place of learned ones.

    Args:
        replace_query_feat: Make the queries' features of them, too, by a linear layer, as in Rein's
            released models; else these are learned.
        **kwargs: As for ``Mask2FormerHead``; ``num_queries`` is Rein's ``token_length``, and
            ``feat_channels`` its ``query_dims``.

    Raises:
        ValueError: If what comes after the features are no such queries.
    """

    def __init__(self, *args, replace_query_feat: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        width = self.query_embed.weight.shape[1]
        self.replace_query_feat = replace_query_feat
        self.query_embed = _Given()
        if replace_query_feat:
            self.query_feat = _Given()
            self.querys2feat = nn.Linear(width, width)
        self._queries = (self.num_queries, width)

    def forward(
        self, x: Sequence[Tensor], batch_data_samples: Sequence
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Classes and masks of each decoder layer.

        Args:
            x: Features by level, each ``(B, C, h, w)``, then the queries ``(m, Q)``.
            batch_data_samples: The batch's samples.
        """
        *features, queries = x
        if tuple(queries.shape) != self._queries:
            raise ValueError(
                f"ReinMask2FormerHead takes queries of shape {self._queries} after the features, "
                f"got {tuple(queries.shape)}. Give the backbone tune='rein', adapter=dict("
                f"link_token_to_query=True, token_length={self._queries[0]}, "
                f"query_dims={self._queries[1]}), or take Mask2FormerHead."
            )
        self.query_embed.weight = queries
        if self.replace_query_feat:
            self.query_feat.weight = self.querys2feat(queries)
        try:
            return super().forward(features, batch_data_samples)
        finally:
            self.query_embed.weight = None
            if self.replace_query_feat:
                self.query_feat.weight = None
