"""Training the mini-ControlNet: label maps in colours steer the frozen mini-SD.

Shapes: ``B`` batch, ``H W`` image, ``h w`` latent (an eighth of the image).
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from benchmarks.paper.training.sd_training import (
    Latents,
    TextStates,
    View,
    Windows,
    diffuse,
    draw_text,
    draw_windows,
    velocity_loss,
)
from benchmarks.paper.training.training import optimise
from street_world.frames import Frames
from street_world.models import build_controlnet, build_scheduler
from street_world.street import CLASSES, IGNORE

__all__ = [
    "ControlnetPhase",
    "ControlnetRecipe",
    "control_windows",
    "train_controlnet",
    "train_controlnet_phase",
]


@dataclass(frozen=True)
class ControlnetPhase:
    """A part of the training, with its own warm-up, decline of the rate and average.

    ``texts`` as in ``UnetRecipe``; where they are empty, the label map has to be read.
    """

    iterations: int
    learning_rate: float
    views: tuple[View, ...]
    texts: tuple[float, float, float, float]


@dataclass(frozen=True)
class ControlnetRecipe:
    """Training of the ControlNet. In the second phase at a higher rate the map takes hold."""

    phases: tuple[ControlnetPhase, ...] = (
        ControlnetPhase(
            iterations=500,
            learning_rate=1e-3,
            views=(View("half", 16, 32, 24, 0.75), View("full", 16, 32, 24, 0.25)),
            texts=(0.15, 0.4, 0.15, 0.3),
        ),
        ControlnetPhase(
            iterations=850,
            learning_rate=2e-3,
            views=(View("half", 16, 32, 24, 0.9), View("full", 16, 32, 24, 0.1)),
            texts=(0.1, 0.4, 0.1, 0.4),
        ),
    )
    bank: str = "acdc"
    weight_decay: float = 0.01
    warmup: int = 30
    snr_limit: float = 5.0
    average: float = 0.99
    seed: int = 0


def control_windows(windows: Windows, frames: Frames, colours: np.ndarray) -> Tensor:
    """The coloured label maps of a batch, (B, 3, 8 h, 8 w) in [0, 1], as the pipeline gives them.

    Args:
        colours: (19, 3) uint8, the colour of each class; what has no class is black.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(CLASSES)] = colours
    table[IGNORE] = 0
    height, width = (8 * side for side in windows.latents.shape[2:])
    parts = []
    for frame, (top, left) in zip(windows.frames, windows.corners, strict=True):
        label = frames.labels[frames.scenes[frame]]
        if windows.source == "half":
            label = label[1::2, 1::2]
        parts.append(table[label[8 * top : 8 * top + height, 8 * left : 8 * left + width]])
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def train_controlnet(
    recipe: ControlnetRecipe,
    unet: UNet2DConditionModel,
    latents: Latents,
    frames: Frames,
    texts: TextStates,
    colours: np.ndarray,
    device: str = "cpu",
) -> tuple[ControlNetModel, list[dict[str, float]]]:
    """Train a ControlNet for a UNet that stays as it is.

    Args:
        colours: See ``control_windows``.

    Returns:
        The moving average of the model, on the CPU in evaluation mode, and the log.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        controlnet = build_controlnet(unet).to(device).train()
    unet = unet.to(device).eval().requires_grad_(False)
    log = []
    for number in range(len(recipe.phases)):
        lines = train_controlnet_phase(
            controlnet, recipe, number, unet, latents, frames, texts, colours
        )
        log += [{"phase": number + 1, **line} for line in lines]
    return controlnet.cpu().eval(), log


def train_controlnet_phase(
    controlnet: ControlNetModel,
    recipe: ControlnetRecipe,
    number: int,
    unet: UNet2DConditionModel,
    latents: Latents,
    frames: Frames,
    texts: TextStates,
    colours: np.ndarray,
) -> list[dict[str, float]]:
    """Train in place; ends with the moving average of the weights. Returns the log."""
    phase, device, scheduler = recipe.phases[number], controlnet.device, build_scheduler()
    rng = np.random.default_rng((recipe.seed, 42 + 100 * number))
    noise = torch.Generator().manual_seed(recipe.seed + 1000 * number)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        windows = draw_windows(phase.views, latents, rng)
        context = texts(
            [draw_text(i, frames, phase.texts, recipe.bank, rng) for i in windows.frames]
        )
        controls = control_windows(windows, frames, colours).to(device)
        noisy, target, steps = (
            value.to(device) for value in diffuse(windows.latents, scheduler, noise)
        )
        output = _controlled(unet, controlnet, noisy, steps, context, controls)
        loss = velocity_loss(output, target, scheduler, steps, recipe.snr_limit)
        return loss, {"loss": loss}

    return optimise(
        controlnet.parameters(),
        loss_of,
        iterations=phase.iterations,
        learning_rate=phase.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        average=recipe.average,
        name="ControlNet",
    )


def _controlled(
    unet: UNet2DConditionModel,
    controlnet: ControlNetModel,
    noisy: Tensor,
    steps: Tensor,
    context: Tensor,
    controls: Tensor,
) -> Tensor:
    """The UNet's output with what the ControlNet adds to its skip connections."""
    down, mid = controlnet(noisy, steps, context, controls, return_dict=False)
    return unet(
        noisy,
        steps,
        context,
        down_block_additional_residuals=down,
        mid_block_additional_residual=mid,
    ).sample
