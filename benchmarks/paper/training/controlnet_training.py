"""Training the mini-ControlNet: label maps in colours steer the frozen mini-SD.

Shapes: ``B`` batch, ``H W`` image, ``h w`` latent (an eighth of the image).
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from benchmarks.paper.training.denoising import (
    Batch,
    TrainingData,
    View,
    Windows,
    train_denoiser,
)
from street_world.frames import Frames
from street_world.models import build_controlnet
from street_world.street import CLASSES, IGNORE


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
    data: TrainingData,
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

    def predict(batch: Batch) -> Tensor:
        """The UNet's output with what the ControlNet adds to its skip connections."""
        controls = control_windows(batch.windows, data.frames, colours).to(device)
        given = batch.noisy, batch.steps, batch.context
        down, mid = controlnet(*given, controls, return_dict=False)
        return unet(
            *given, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample

    log = train_denoiser(
        controlnet,
        predict,
        recipe,
        data,
        stream=42,
        texts=[phase.texts for phase in recipe.phases],
        layout=[True] * len(recipe.phases),
    )
    return controlnet.cpu().eval(), log
