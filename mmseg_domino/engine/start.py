"""One line that says what is about to run."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from ..utils.configs import type_name
from .loading import unwrapped

__all__ = ["describe_start"]

_ATTACHING = ("LoadDomainEmbedding", "EncodeDomain")


def describe_start(runner: Runner) -> str:
    """What a run is of: layers adapted, parameters added, source of the embedding, weights.

    Args:
        runner: With its model, after it loaded its checkpoint.
    """
    report = getattr(runner, "load_report", None)
    weights = str(report) if report else "those the model was built with"
    model = unwrapped(runner.model)
    return f"{_adapted(model)}; embedding: {_embedding(runner.cfg, model)}; weights: {weights}"


def _adapted(model: nn.Module) -> str:
    layers, added = [], 0
    for name, module in model.named_modules():
        owner, _, last = name.rpartition(".")
        if last == "domain":
            # What is adapted, by name.
            names = getattr(module, "names", None) or list(getattr(module, "keys", list)())
            layers.append(f"{len(names)} layers of the {owner}")
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if "domain" in parts or any(part.startswith("lora_") for part in parts):
            added += parameter.numel()
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapted = " and ".join(layers) or "no layers"
    return (
        f"{adapted} adapted to the domain, {added:,} parameters added, {trained:,} of {total:,} "
        "trainable"
    )


def _embedding(cfg: Config, model: nn.Module) -> str:
    step = next((s for s in _steps(cfg) if type_name(s) in _ATTACHING), None)
    if step is None:
        encoder = getattr(model.data_preprocessor, "encoder", None)
        return "none" if encoder is None else "CLIP, in the data preprocessor"
    kind = step.get("source", "soft")
    if type_name(step) == "LoadDomainEmbedding":
        return f"{kind}, from the store {step.get('store')}"
    encoder = step.get("encoder") or {}
    return f"{kind}, by CLIP {encoder.get('model')} and the bank {encoder.get('bank', 'acdc')}"


def _steps(node: object) -> Iterator[Mapping]:
    """The steps of the pipelines of a config's data loaders."""
    if isinstance(node, Config):
        node = [node.get(f"{part}_dataloader") for part in ("train", "test", "val")]
    if isinstance(node, Mapping):
        if type_name(node) in _ATTACHING:
            yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _steps(child)
