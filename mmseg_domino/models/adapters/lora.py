"""Low-rank adapters (LoRA, arXiv 2106.09685) from the peft library, without a change of names."""

import re
from functools import cache

from torch import Tensor, nn

from ...utils.options import complete_options
from ..layers.key_names import hide_child_name

#: What ``adapter = dict(...)`` may hold with ``tune='lora'``, with its defaults. ``targets`` is a
#: regular expression, searched for in the names of linear, convolution and multi-head attention
#: layers. ``None``: those of attention, or all in a network without attention.
LORA_OPTIONS = {"rank": 16, "alpha": 16, "dropout": 0.0, "targets": None}
_ATTENTION = r"attn|attention"

_INSTALL = "pip install peft"


def _layers(module: nn.Module) -> list[nn.Module]:
    from peft.tuners.lora import LoraLayer

    return [m for m in module.modules() if isinstance(m, LoraLayer)]


def add_lora(module: nn.Module, options: dict) -> list[str]:
    """Put adapters beside linear and convolution layers, in place.

    The state dict keeps the layers' own names (``qkv.weight``, not ``qkv.base_layer.weight``), so
    that checkpoints of the module without adapters load.
    """
    options = complete_options(options, LORA_OPTIONS, "adapter")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(f"LoRA comes from the peft library: {_INSTALL}") from error
    kinds = (nn.Linear, nn.Conv2d)
    possible = {n: m for n, m in module.named_modules() if n and isinstance(m, kinds)}
    # An attention layer's own parameters never pass through the forward of its projections.
    inside = [n for n, m in module.named_modules() if isinstance(m, nn.MultiheadAttention)]
    possible = [
        name
        for name, layer in possible.items()
        if getattr(layer, "groups", 1) == 1
        and not any(name.startswith(f"{parent}.") for parent in inside)
    ] + inside
    pattern = options["targets"]
    targets = [name for name in possible if re.search(pattern or _ATTENTION, name)]
    if pattern is None and not targets:
        targets = possible
    if not targets:
        raise ValueError(
            f"the adapter's targets {pattern!r} fit none of the {len(possible)} linear, "
            f"convolution and attention layers of {type(module).__name__}; the first are "
            f"{possible[:5]}"
        )
    config = LoraConfig(
        r=options["rank"],
        lora_alpha=options["alpha"],
        lora_dropout=options["dropout"],
        target_modules=targets,
    )
    inject_adapter_in_model(config, module)
    for layer in _layers(module):
        _keep_parameters(layer)
        hide_child_name(layer, "base_layer")
    return targets


def _keep_parameters(layer: nn.Module) -> None:
    """Let a listing of an adapted attention layer's parameters not replace them by new ones.

    peft does so to repair what merging leaves behind. But MMEngine initialises a model by a record
    of its parameters and stops where it meets one that it does not know.
    """
    from peft.tuners.lora.layer import MultiheadAttention

    if isinstance(layer, MultiheadAttention):
        layer.__class__ = _attention_class(type(layer))


@cache
def _attention_class(base: type) -> type:
    def _restore_weights(self) -> None:
        attention = self.get_base_layer()
        projection = attention.out_proj.get_base_layer()
        if "in_proj_weight" not in attention._parameters or "weight" not in projection._parameters:
            base._restore_weights(self)

    return type(base.__name__, (base,), {"_restore_weights": _restore_weights})


def lora_parameters(module: nn.Module) -> list[Tensor]:
    """The parameters that :func:`add_lora` added."""
    return [p for n, p in module.named_parameters() if ".lora_" in n]


def reset_lora(module: nn.Module) -> None:
    """Make the adapters' product zero again, after an initialisation by layer type."""
    for layer in _layers(module):
        for adapter in layer.active_adapters:
            layer.reset_lora_parameters(adapter, init_lora_weights=True)


def train_lora(module: nn.Module, mode: bool) -> None:
    """Set only the adapters' dropout to training or evaluation."""
    for layer in _layers(module):
        layer.lora_dropout.train(mode)


def merge_lora(module: nn.Module) -> None:
    """Add the adapters to the weights and put the layers themselves back, in place."""
    from peft.tuners.lora import LoraLayer

    adapted = [(n, m) for n, m in module.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in adapted:
        if any(name.startswith(f"{outer}.") for outer, _ in adapted):
            continue  # an attention layer takes its projections back itself
        if hasattr(layer, "unload_and_optionally_merge_module"):
            plain = layer.unload_and_optionally_merge_module(True, False, None)
        else:
            layer.merge()
            plain = layer.get_base_layer()
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, plain)
