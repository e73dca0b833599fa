"""Which of a pretrained network's own parameters are trained, and the adapters beside them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from ..layers.domain_adaptive_norm import is_norm
from .lora import add_lora, lora_parameters, merge_lora, reset_lora, train_lora
from .rein import Rein, ReinWidths, add_rein
from .soma import add_soma, compose_soma, decompose_soma, merge_soma

#: ``full``: all. ``frozen``: none. ``norms``: scale and shift of its normalisation layers. The
#: others freeze it and train adapters: ``lora``, low-rank ones beside its layers; ``rein``, tokens
#: that refine the output of its blocks; ``soma``, the minor components of its layers' weights.
TUNING = ("full", "frozen", "norms", "lora", "rein", "soma")
_ADAPTERS = ("lora", "rein", "soma")


def apply_tuning(
    network: nn.Module, tune: str, adapter: Mapping | None = None, targets: str | None = None
) -> Rein | ReinWidths | None:
    """Say which parameters are trained, and add adapters if asked, in place.

    Rein's tokens are returned, as they are no part of the network.
    """
    if tune not in TUNING:
        raise ValueError(f"unknown tune {tune!r}; valid ones are {', '.join(TUNING)}")
    if adapter is not None and tune not in _ADAPTERS:
        raise ValueError(
            f"`adapter` has the options of tune={', '.join(map(repr, _ADAPTERS))}; got "
            f"tune={tune!r}"
        )
    options, rein = dict(adapter or {}), None
    if tune == "lora":
        add_lora(network, {"targets": targets, **options})
        trained = lora_parameters(network)
    elif tune == "soma":
        trained = add_soma(network, options)
    elif tune == "norms":
        trained = [p for m in network.modules() if is_norm(m) for p in m.parameters(recurse=False)]
    else:
        trained = []
        rein = add_rein(network, options) if tune == "rein" else None
    network.requires_grad_(tune == "full")
    for parameter in trained:
        parameter.requires_grad_(True)
    return rein


@contextmanager
def starting_weights(network: nn.Module, tune: str) -> Iterator[None]:
    """Around what gives a network the weights that its training starts from."""
    if tune == "soma":
        compose_soma(network)
    yield
    if tune == "lora":
        reset_lora(network)
    elif tune == "soma":
        decompose_soma(network)


def train_tuned(network: nn.Module, tune: str, mode: bool) -> None:
    """``network.train(mode)``, but what is not trained whole keeps its statistics."""
    network.train(mode and tune == "full")
    if tune == "lora":
        train_lora(network, mode)


def merge_tuned(network: nn.Module, tune: str) -> None:
    """Add trained adapters to the weights, so that the network is a plain one again, in place.

    Raises:
        ValueError: For Rein, which is no change of weights.
    """
    if tune == "rein":
        raise ValueError(
            "Rein refines what blocks put out and cannot be merged into their weights; LoRA and "
            "SoMA can"
        )
    if tune == "lora":
        merge_lora(network)
    elif tune == "soma":
        merge_soma(network)
