"""Which of a pretrained network's own parameters are trained."""

from collections.abc import Mapping

from torch import nn

from ..layers.domain_adaptive_norm import is_norm
from .lora import add_lora, lora_parameters, train_lora

#: ``full``: all. ``frozen``: none. ``lora``: low-rank adapters beside its layers. ``norms``: scale
#: and shift of its normalisation layers.
TUNING = ("full", "frozen", "lora", "norms")


def apply_tuning(
    network: nn.Module, tune: str, lora: Mapping | None = None, targets: str | None = None
) -> None:
    """Say which parameters are trained, and add adapters if asked, in place.

    Args:
        network: The pretrained network.
        tune: One of :data:`TUNING`.
        lora: See :data:`~.lora.LORA_OPTIONS`.
        targets: The default of its ``targets``.

    Raises:
        ValueError: For an unknown mode, or options of LoRA without it.
    """
    if tune not in TUNING:
        raise ValueError(f"unknown tune {tune!r}; valid ones are {', '.join(TUNING)}")
    if lora is not None and tune != "lora":
        raise ValueError(f"`lora` goes with tune='lora', got tune={tune!r}")
    if tune == "lora":
        add_lora(network, {"targets": targets, **(lora or {})})
    network.requires_grad_(tune == "full")
    if tune == "lora":
        trained = lora_parameters(network)
    elif tune == "norms":
        trained = [p for m in network.modules() if is_norm(m) for p in m.parameters(recurse=False)]
    else:
        trained = []
    for parameter in trained:
        parameter.requires_grad_(True)


def train_tuned(network: nn.Module, tune: str, mode: bool) -> None:
    """``network.train(mode)``, but what is not trained whole keeps its statistics."""
    network.train(mode and tune == "full")
    if tune == "lora":
        train_lora(network, mode)
