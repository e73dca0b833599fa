"""What the trainings of the miniature models share: learning rate, moving average, log."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from mmseg_domino.utils.io import atomic_write

__all__ = ["MovingAverage", "TrainingLog", "cosine_rate", "save_half", "trained_once"]


def cosine_rate(step: int, iterations: int, peak: float, warmup: int) -> float:
    """Linear warm-up to ``peak`` and a half cosine down to 0, at iteration ``step`` from 0 on."""
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return peak * ramp * 0.5 * (1 + math.cos(math.pi * step / iterations))


class MovingAverage:
    """Exponential moving average of a module's parameters, young at first.

    Args:
        module: Whose parameters are followed.
        decay: Of an old average; at update ``n`` it is at most ``(1 + n) / (10 + n)``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = [value.detach().clone() for value in module.parameters()]

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor]) -> None:
        """Take the parameters after an optimiser's step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in zip(self.values, parameters, strict=True):
            mean.lerp_(value, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the averages into the module."""
        for mean, value in zip(self.values, module.parameters(), strict=True):
            value.copy_(mean)


class TrainingLog:
    """Means of the losses over ``interval`` iterations, with the seconds since the start."""

    def __init__(self, iterations: int, interval: int = 50) -> None:
        self.iterations, self.interval = iterations, interval
        self.lines: list[dict[str, float]] = []
        self._start = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, step: int, **losses: float) -> None:
        """Note the losses of iteration ``step`` (from 0 on)."""
        self._count += 1
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        if (step + 1) % self.interval == 0 or step + 1 == self.iterations:
            means = {name: round(value / self._count, 5) for name, value in self._sums.items()}
            seconds = round(time.perf_counter() - self._start, 1)
            self.lines.append({"iteration": step + 1, **means, "seconds": seconds})
            self._sums, self._count = {}, 0


def trained_once(
    model_class: type[ModelMixin],
    folder: Path,
    recipe: dict,
    train: Callable[[], tuple[ModelMixin, list[dict]]],
) -> tuple[ModelMixin, list[dict]]:
    """The model of a stage and its log: from ``folder`` if the same was finished there.

    Args:
        recipe: Everything that the result depends on, dataclasses by name; compared with what the
            folder's ``stage.json`` says.
        train: Called otherwise; its result is written to the folder.
    """
    stage = folder / "stage.json"
    wanted = json.loads(json.dumps(recipe, default=asdict))
    known = json.loads(stage.read_text()) if stage.is_file() else {}
    if known.get("recipe") != wanted:
        stage.unlink(missing_ok=True)
        model, log = train()
        model.save_pretrained(folder)
        with atomic_write(stage) as path:
            path.write_text(json.dumps({"recipe": wanted, "log": log}) + "\n")
        return model, log
    return model_class.from_pretrained(folder).eval(), known["log"]


def save_half(model: ModelMixin, folder: Path) -> ModelMixin:
    """Write a model in half precision; returns what a reader gets from it, in float32.

    The folder that it was once read from, which diffusers notes, is left out.
    """
    model.half().save_pretrained(folder, safe_serialization=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("_name_or_path", None)
    with atomic_write(folder / "config.json") as path:
        path.write_text(json.dumps(config, indent=2) + "\n")
    return model.float()
