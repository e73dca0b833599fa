"""The transformer blocks of a network, which Rein and SoMA count."""

import re
from typing import NamedTuple

from torch import nn


class Block(NamedTuple):
    """One transformer block: its name in the network, the module, and the tokens' width ``C``."""

    name: str
    module: nn.Module
    width: int


def find_blocks(network: nn.Module, pattern: str | None = None) -> list[Block]:
    """A network's transformer blocks, in the order in which it holds them.

    Args:
        network: The network.
        pattern: Regular expression that is searched for in the names of modules; ``None`` for
            those that have a layer norm and an attention layer as children.

    Raises:
        ValueError: If there are none.
    """
    blocks: list[Block] = []
    for name, module in network.named_modules():
        if blocks and name.startswith(f"{blocks[-1].name}."):
            continue  # some attention layers have a norm of their own
        norm = next((m for m in module.children() if isinstance(m, nn.LayerNorm)), None)
        attends = any("attn" in child for child, _ in module.named_children())
        chosen = attends if pattern is None else re.search(pattern, name)
        if norm is not None and chosen:
            blocks.append(Block(name, module, norm.normalized_shape[-1]))
    if not blocks:
        where = "none was found" if pattern is None else f"{pattern!r} fits none"
        raise ValueError(
            f"{type(network).__name__} has no transformer blocks to adapt, which are modules with "
            f"a layer norm and an attention layer: {where}. Use tune='lora' for other networks."
        )
    return blocks


def prefix_tokens(network: nn.Module) -> int:
    """How many tokens without a place (class, registers) come before the patches."""
    for module in network.modules():
        if isinstance(getattr(module, "num_prefix_tokens", None), int):
            return module.num_prefix_tokens
    names = ("cls_token", "class_token", "class_embedding")
    return int(any(n.split(".")[-1] in names for n, _ in network.named_parameters()))
