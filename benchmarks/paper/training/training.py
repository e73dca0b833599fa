"""What the trainings of the miniature models share: the loop, its log, and finished stages."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import ModelMixin
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from mmseg_domino.utils.io import atomic_write


def cosine_rate(step: int, iterations: int, warmup: int) -> float:
    """Share of the peak rate at ``step`` from 0 on: linear warm-up times a half cosine to 0."""
    ramp = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return ramp * 0.5 * (1 + math.cos(math.pi * step / iterations))


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


def optimise(
    parameters: Iterable[Tensor] | list[dict],
    loss_of: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
    *,
    iterations: int,
    learning_rate: float,
    warmup: int,
    weight_decay: float,
    beta2: float = 0.99,
    average: float = 0.0,
    name: str,
) -> list[dict[str, float]]:
    """Train parameters in place by AdamW, with gradients clipped to norm 1.

    Args:
        parameters: Tensors, or groups of them as the optimiser takes them. They end as their
            moving average.
        loss_of: From the iteration, from 0 on, to what is minimised and the losses for the log.
        learning_rate: Peak of ``cosine_rate``.
        average: Decay of the moving average, less in the first iterations; 0 for none.
        name: Of the progress bar.

    Returns:
        The log's lines.
    """
    optimizer = AdamW(parameters, learning_rate, betas=(0.9, beta2), weight_decay=weight_decay)
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    rate = LambdaLR(optimizer, lambda step: cosine_rate(step, iterations, warmup))
    mean = EMAModel(parameters, average)
    log = TrainingLog(iterations)
    for step in (bar := tqdm(range(iterations), desc=name)):
        loss, losses = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        mean.step(parameters)
        log.add(step, **{key: value.item() for key, value in losses.items()})
        if log.lines:
            bar.set_postfix(log.lines[-1], refresh=False)
    mean.copy_to(parameters)
    return log.lines


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
