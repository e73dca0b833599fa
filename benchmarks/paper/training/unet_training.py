"""Training the mini-SD's UNet over the latents of the street world."""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel

from benchmarks.paper.training.denoising import TrainingData, View, train_denoiser
from street_world.models import build_unet


@dataclass(frozen=True)
class UnetPhase:
    """A part of the UNet's training, with its own warm-up, decline of the rate and average.

    ``layout`` says that steps of much noise, in which the layout of the picture is decided, weigh
    as much as others; see ``velocity_loss``.
    """

    iterations: int
    learning_rate: float
    views: tuple[View, ...]
    layout: bool


@dataclass(frozen=True)
class UnetRecipe:
    """Training of the UNet.

    Whole frames at half size teach the street, windows at full size the detail, and the larger
    windows the sizes that the configs crop. The first phase learns tones and textures, the second
    how a street is laid out. ``texts`` are the shares of captions, of texts that name the domain
    alone, of the domain with the classes shown (as in synthesis), and of the empty text for
    guidance.
    """

    phases: tuple[UnetPhase, ...] = (
        UnetPhase(
            iterations=1050,
            learning_rate=1.2e-3,
            views=(
                View("half", 16, 32, 24, 0.6),
                View("full", 16, 32, 24, 0.22),
                View("full", 32, 32, 9, 0.14),
                View("full", 32, 64, 4, 0.04),
            ),
            layout=False,
        ),
        UnetPhase(
            iterations=4400,
            learning_rate=1e-3,
            views=(
                View("half", 16, 32, 16, 0.8),
                View("full", 16, 32, 16, 0.12),
                View("full", 32, 32, 6, 0.06),
                View("full", 32, 64, 3, 0.02),
            ),
            layout=True,
        ),
    )
    texts: tuple[float, float, float, float] = (0.3, 0.35, 0.25, 0.1)
    bank: str = "acdc"
    weight_decay: float = 0.01
    warmup: int = 60
    snr_limit: float = 5.0
    average: float = 0.995
    seed: int = 0


def train_unet(
    recipe: UnetRecipe, data: TrainingData, device: str = "cpu"
) -> tuple[UNet2DConditionModel, list[dict[str, float]]]:
    """Train the UNet from scratch to predict velocities.

    Returns:
        The moving average of the model, on the CPU in evaluation mode, and the log.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        unet = build_unet()
    torch.nn.init.zeros_(unet.conv_out.weight)
    # A twelfth faster on CPUs; the autoencoder's few channels are slower for it.
    unet.to(device, memory_format=torch.channels_last).train()
    log = train_denoiser(
        unet,
        lambda batch: unet(batch.noisy, batch.steps, batch.context).sample,
        recipe,
        data,
        stream=41,
        texts=[recipe.texts] * len(recipe.phases),
        layout=[phase.layout for phase in recipe.phases],
    )
    return unet.cpu().to(memory_format=torch.contiguous_format).eval(), log
