"""SoMA: the minor singular components of a layer's weight trained, the rest of it frozen.

Yun et al., *SoMA: Singular Value Decomposed Minor Components Adaptation for Domain Generalizable
Representation Learning*, CVPR 2025 (arXiv 2412.04077).

Shapes: ``r`` rank, ``p`` parts of a fused layer (3 for query, key and value in one).
"""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...utils.options import complete_options
from .blocks import find_blocks
from .frozen_state import frozen_sample

#: What ``adapter = dict(...)`` may hold with ``tune='soma'``, with its defaults.
SOMA_OPTIONS = {
    "rank": 16,
    # Factor of the product is alpha / rank; None: as the rank, so 1.
    "alpha": None,
    # The first block that is adapted; those before it stay as they are.
    "start_block": 8,
    # Regular expression that is searched for in the layers' names; None for all linear and
    # attention layers of the blocks.
    "targets": None,
    # Regular expression for the names of the blocks; None for all transformer blocks.
    "blocks": None,
}
#: Layers that are several in one, by the last part of their name.
_FUSED = {"qkv": 3, "kv": 2, "w12": 2}


class _Minor:
    """A layer of which one weight is a frozen residual plus ``lora_B @ lora_A``."""

    _weight_name: str

    def _adapt(self, rank: int, alpha: float | None, parts: int, name: str) -> None:
        weight = self._parameters[self._weight_name]
        rows, columns = weight.shape[0] // parts, weight.shape[1]
        if rank < 1 or rank > min(rows, columns):
            raise ValueError(
                f"SoMA's rank {rank} does not fit the layer {name}, whose weight is {rows} x "
                f"{columns}: it has {min(rows, columns)} singular components. Give a rank from 1 "
                "to that, or leave the layer out with `targets`."
            )
        self.rank, self.parts, self.scaling = rank, parts, (rank if alpha is None else alpha) / rank
        self.decomposed = False
        like = dict(device=weight.device, dtype=weight.dtype)
        self.lora_A = nn.Linear(columns, parts * rank, bias=False, **like)
        self.lora_B = nn.Linear(rank, parts * rows, bias=False, **like)
        nn.init.zeros_(self.lora_A.weight)
        nn.init.zeros_(self.lora_B.weight)
        self.register_buffer("pretrained_sample", frozen_sample(weight), persistent=False)

    def _delta(self) -> Tensor:
        """What the adapters add to the weight."""
        a = self.lora_A.weight.unflatten(0, (self.parts, self.rank))
        b = self.lora_B.weight.unflatten(0, (self.parts, -1))
        return (b @ a).flatten(0, 1) * self.scaling

    def _whole(self) -> Tensor:
        return self._parameters[self._weight_name] + self._delta()

    @torch.no_grad()
    def decompose(self) -> None:
        """Move the smallest singular components of the weight into the adapters."""
        if self.decomposed:
            return
        weight = self._parameters[self._weight_name]
        self.pretrained_sample.copy_(frozen_sample(weight))
        factors = []
        # In double precision the result is the same on every machine, to the last bits of float32.
        for part in weight.double().chunk(self.parts):
            u, s, vh = torch.linalg.svd(part, full_matrices=False)
            root = (s[-self.rank :] / self.scaling).sqrt()
            factors.append((root[:, None] * vh[-self.rank :], u[:, -self.rank :] * root))
        self.lora_A.weight.copy_(torch.cat([a for a, _ in factors]))
        self.lora_B.weight.copy_(torch.cat([b for _, b in factors]))
        weight.sub_(self._delta())
        self.decomposed = True

    @torch.no_grad()
    def compose(self) -> None:
        """Move the adapters back into the weight, and set them to zero."""
        self._parameters[self._weight_name].add_(self._delta())
        self.lora_A.weight.zero_()
        self.lora_B.weight.zero_()
        self.decomposed = False


class SomaLinear(_Minor, nn.Linear):
    """A linear layer, or several fused into one, with minor components of their own."""

    _weight_name = "weight"
    #: Whole, since some networks take a layer's weight and pass its forward by (timm's EVA).
    weight = property(_Minor._whole)

    def forward(self, x: Tensor) -> Tensor:
        low = self.lora_A(x)
        if self.parts == 1:
            low = self.lora_B(low)
        else:
            # One product a part: a broadcast one would copy the factors for every token.
            b = self.lora_B.weight.unflatten(0, (self.parts, -1)).transpose(1, 2)
            split = low.reshape(-1, self.parts, self.rank).transpose(0, 1)  # (p, tokens, r)
            low = (split @ b).transpose(0, 1).reshape(*low.shape[:-1], -1)
        return F.linear(x, self._parameters["weight"], self.bias) + self.scaling * low


class SomaAttention(_Minor, nn.MultiheadAttention):
    """PyTorch's attention with minor components of query, key and value."""

    _weight_name = "in_proj_weight"
    in_proj_weight = property(_Minor._whole)


def add_soma(network: nn.Module, options: dict) -> list[nn.Parameter]:
    """Give layers room for adapters, in place; :func:`decompose_soma` fills them.

    The state dict keeps the layers' own names; beside them are ``lora_A.weight`` and
    ``lora_B.weight``.

    Args:
        network: The network.
        options: Any of :data:`SOMA_OPTIONS`.

    Returns:
        What is trained: the adapters, and the biases of the adapted layers.

    Raises:
        ValueError: For an unknown option, a layer narrower than the rank, or if no layer is chosen.
    """
    options = complete_options(options, SOMA_OPTIONS, "adapter")
    blocks = find_blocks(network, options["blocks"])
    layers = _layers(blocks[options["start_block"] :], options["targets"])
    if not layers:
        raise ValueError(
            f"SoMA adapts no layer: {type(network).__name__} has {len(blocks)} transformer blocks, "
            f"start_block={options['start_block']} and targets={options['targets']!r}"
        )
    trained = []
    for name, (layer, owner) in layers.items():
        last = name.rsplit(".", 1)[-1]
        is_linear = isinstance(layer, nn.Linear)
        parts = _FUSED.get(last, 1) if is_linear else 3
        layer.plain_class = type(layer)
        layer.__class__ = SomaLinear if is_linear else SomaAttention
        layer._adapt(options["rank"], options["alpha"], parts, name)
        biases = [getattr(layer, "bias" if is_linear else "in_proj_bias")]
        if last == "qkv":  # some attention layers keep them apart
            biases += [getattr(owner, f"{one}_bias", None) for one in "qkv"]
        trained += [layer.lora_A.weight, layer.lora_B.weight]
        trained += [b for b in biases if isinstance(b, nn.Parameter)]
    return trained


def _layers(blocks: list, pattern: str | None) -> dict[str, tuple[nn.Module, nn.Module]]:
    """The layers to adapt by name, each with the module that holds it."""
    found = {}
    for block in blocks:
        for owner_name, owner in block.module.named_modules(prefix=block.name):
            for name, layer in owner.named_children():
                fits = isinstance(layer, nn.Linear) or (
                    isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None
                )
                if fits and (pattern is None or re.search(pattern, f"{owner_name}.{name}")):
                    found[f"{owner_name}.{name}"] = (layer, owner)
    return found


def _adapted(network: nn.Module) -> list[_Minor]:
    return [m for m in network.modules() if isinstance(m, _Minor)]


def decompose_soma(network: nn.Module) -> None:
    """Fill the adapters from the weights that the network has now; once."""
    for layer in _adapted(network):
        layer.decompose()


def compose_soma(network: nn.Module) -> None:
    """Undo :func:`decompose_soma`, before other weights are loaded."""
    for layer in _adapted(network):
        layer.compose()


def merge_soma(network: nn.Module) -> None:
    """Add the adapters to the weights, and make the network the plain one again."""
    for layer in _adapted(network):
        layer.compose()
        layer.__class__ = layer.__dict__.pop("plain_class")
        for name in ("lora_A", "lora_B"):
            delattr(layer, name)
        del layer.pretrained_sample
