"""Rein: learned tokens that refine the output of every block of a frozen network.

Wei et al., *Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain Generalized
Semantic Segmentation*, CVPR 2024 (arXiv 2312.04265). Written from the paper.

Shapes: ``L`` blocks, ``m`` learned tokens a block, ``r`` their rank, ``C`` the width of the
network's tokens, ``Q`` of the head's queries, ``B`` batch, ``T`` tokens of an image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...utils.options import complete_options
from .blocks import find_blocks, prefix_tokens

#: What ``adapter = dict(...)`` may hold with ``tune='rein'``, with its defaults.
REIN_OPTIONS = {
    # Learned tokens a block, and the rank of their factors; None for tokens without factors.
    "token_length": 100,
    "rank": 16,
    # Factor of the refinement at the start; it is trained.
    "scale": 0.001,
    # Make the head's queries of the tokens, as wide as `query_dims`; for ReinMask2FormerHead.
    "link_token_to_query": False,
    "query_dims": 256,
    # Regular expression for the names of the blocks; None for all transformer blocks.
    "blocks": None,
    # Tokens without a place before the patches, which are not refined; None to find out.
    "prefix_tokens": None,
}
#: Side of the patches in the bound of the tokens' start, as of visual prompts (VPT).
_PATCH = 16


class Rein(nn.Module):
    r"""The tokens of blocks of one width.

    .. math:: S = \mathrm{softmax}(f T_i^\top / \sqrt{C}), \quad
        f + s \, W_f (S_{2 \dots m} W_T T_{i, 2 \dots m} + f)

    The first token only takes attention away, so that a patch need not be refined.

    Args:
        depth: ``L``.
        width: ``C``.
        options: :data:`REIN_OPTIONS`, all of them.
        merges: Whether the queries of its tokens are made here; see :meth:`queries`.
    """

    def __init__(self, depth: int, width: int, options: dict, merges: bool = True) -> None:
        super().__init__()
        length, rank = options["token_length"], options["rank"]
        if length < 2 or (rank is not None and rank < 1):
            raise ValueError(
                "Rein needs at least 2 tokens, of which the first refines nothing, and a rank of "
                f"at least 1; got token_length={length}, rank={rank}"
            )
        if rank is None:
            self.learnable_tokens = _start((depth, length, width), width)
        else:
            self.learnable_tokens_a = _start((depth, length, rank), (width * rank) ** 0.5)
            self.learnable_tokens_b = _start((depth, rank, width), (width * rank) ** 0.5)
        self.scale = nn.Parameter(torch.tensor(float(options["scale"])))
        self.mlp_token2feat = nn.Linear(width, width)
        self.mlp_delta_f = nn.Linear(width, width)
        if options["link_token_to_query"]:
            self.transform = nn.Linear(width, options["query_dims"])
            if merges:
                self.merge = nn.Linear(3 * options["query_dims"], options["query_dims"])

    def tokens(self, block: int | slice = slice(None)) -> Tensor:
        """``(m, C)`` of one block, or ``(L, m, C)`` of all."""
        if hasattr(self, "learnable_tokens"):
            return self.learnable_tokens[block]
        return self.learnable_tokens_a[block] @ self.learnable_tokens_b[block]

    def forward(self, features: Tensor, block: int) -> Tensor:
        """Refine the patches ``(B, T, C)`` that a block puts out."""
        tokens = self.tokens(block)
        similarity = features @ tokens.transpose(0, 1) * features.shape[-1] ** -0.5
        similarity = similarity.softmax(dim=-1)
        delta = similarity[..., 1:] @ self.mlp_token2feat(tokens[1:])
        return features + self.scale * self.mlp_delta_f(delta + features)

    def queries(self) -> Tensor:
        """The head's queries ``(m, Q)``, made of the tokens of all blocks."""
        return _merge(self.merge, [self])


class ReinWidths(nn.ModuleDict):
    """A :class:`Rein` for each width of a network's blocks, with queries of all of them."""

    def __init__(self, depths: dict[int, int], options: dict) -> None:
        super().__init__({f"width_{w}": Rein(d, w, options, False) for w, d in depths.items()})
        if options["link_token_to_query"]:
            self.add_module("merge", nn.Linear(3 * options["query_dims"], options["query_dims"]))

    def queries(self) -> Tensor:
        """The head's queries ``(m, Q)``."""
        return _merge(self["merge"], [m for m in self.values() if isinstance(m, Rein)])


class _Refine:
    """What is done after a block: an object, so that copies of the network have hooks of theirs."""

    def __init__(self, rein: Rein, block: int, prefix: int) -> None:
        self.rein, self.block, self.prefix = rein, block, prefix

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        shape = output.shape
        tokens = output.flatten(1, -2)  # some networks keep the grid: (B, h, w, C)
        fixed, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        refined = self.rein(patches, self.block)
        return (torch.cat([fixed, refined], dim=1) if self.prefix else refined).view(shape)


def add_rein(network: nn.Module, options: dict) -> Rein | ReinWidths:
    """Put learned tokens after each block of a network, in place.

    Args:
        network: Its blocks must put out one tensor ``(B, T, C)`` or ``(B, h, w, C)``.
        options: Any of :data:`REIN_OPTIONS`.

    Returns:
        The tokens. They are no part of ``network``, whose state dict stays as it is; the caller
        keeps them. ``Rein`` where all blocks have one width.

    Raises:
        ValueError: For an unknown option, too few tokens, or a network without such blocks.
    """
    options = complete_options(options, REIN_OPTIONS, "adapter")
    blocks = find_blocks(network, options["blocks"])
    prefix = options["prefix_tokens"]
    prefix = prefix_tokens(network) if prefix is None else prefix
    depths: dict[int, int] = {}
    for block in blocks:
        depths[block.width] = depths.get(block.width, 0) + 1
    several = len(depths) > 1
    rein = ReinWidths(depths, options) if several else Rein(len(blocks), blocks[0].width, options)
    seen = dict.fromkeys(depths, 0)
    for block in blocks:
        part = rein[f"width_{block.width}"] if several else rein
        block.module.register_forward_hook(_Refine(part, seen[block.width], prefix))
        seen[block.width] += 1
    return rein


def _start(shape: tuple[int, ...], width: float) -> nn.Parameter:
    bound = (6 / (3 * _PATCH**2 + width)) ** 0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _merge(layer: nn.Linear, reins: Sequence[Rein]) -> Tensor:
    projected = torch.cat([rein.transform(rein.tokens()) for rein in reins])  # (L, m, Q)
    pooled = [projected.amax(dim=0), projected.mean(dim=0), projected[-1]]
    return layer(torch.stack(pooled, dim=-1).flatten(-2))
