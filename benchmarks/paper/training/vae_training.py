"""Training the mini-SD's autoencoder on the street world.

Shapes: ``B`` batch, ``N`` frames, ``H W`` image, ``h w`` latent (an eighth of the image).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from benchmarks.paper.training.training import optimise
from street_world.frames import FrameRecipe, Frames
from street_world.models import build_vae


@dataclass(frozen=True)
class VaeRecipe:
    """Training of the autoencoder, on square windows of frames at full and at half size.

    The decoder bears a little noise of fixed strength, ``noise``, from the first step. With the
    usual estimate of the encoder and a prior, half of the channels fall silent in so short a
    training, and colour with them. ``chroma`` is the weight of colour against brightness. At first
    the latent is guided to hold a thumbnail, see ``thumbnail``; ``guide`` is the weight of that,
    which falls to 0 in the first half.
    """

    frames: FrameRecipe = field(default_factory=FrameRecipe)
    iterations: int = 1200
    batch_size: int = 8
    window: int = 96
    half_size: float = 0.5
    learning_rate: float = 2e-3
    warmup: int = 50
    noise: float = 0.1
    chroma: float = 3.0
    guide: float = 1.0
    average: float = 0.99
    seed: int = 0


def to_tensor(images: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def halved(image: np.ndarray) -> np.ndarray:
    """Half the height and width, each pixel the mean of four."""
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _windows(recipe: "VaeRecipe | DecoderRecipe", frames: Frames, stream: int) -> Iterator[Tensor]:
    rng = np.random.default_rng((recipe.seed, stream))
    for _ in range(recipe.iterations):
        batch = []
        for index in rng.choice(len(frames.images), recipe.batch_size, replace=False):
            image = frames.images[index]
            if rng.random() < recipe.half_size:
                image = halved(image)
            top = rng.integers(0, image.shape[0] - recipe.window + 1)
            left = rng.integers(0, image.shape[1] - recipe.window + 1)
            part = image[top : top + recipe.window, left : left + recipe.window]
            batch.append(part[:, ::-1] if rng.random() < 0.5 else part)
        yield to_tensor(np.stack(batch))


def _fit(
    parameters: Iterator[Parameter],
    loss_of: Callable,
    recipe: "VaeRecipe | DecoderRecipe",
    name: str,
) -> list[dict[str, float]]:
    return optimise(
        parameters, loss_of, iterations=recipe.iterations, learning_rate=recipe.learning_rate,
        warmup=recipe.warmup, weight_decay=1e-4, average=recipe.average, name=name,
    )  # fmt: skip


def reconstruction_loss(output: Tensor, target: Tensor, chroma: float) -> Tensor:
    """How two (B, 3, H, W) differ, in brightness and in colour.

    Absolute differences at three resolutions and of the gradients: the coarse resolutions keep
    tones right where the detail cannot be, the gradients keep edges. Squared differences beside
    them: by absolute ones alone, rare colours would best be grey.

    Args:
        chroma: Weight of the differences of red and blue to the brightness.
    """
    output, target = _opponent(output, chroma), _opponent(target, chroma)
    loss = 2 * F.mse_loss(output, target)
    for axis in (2, 3):
        loss = loss + (output.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    for _ in range(3):
        loss = loss + (output - target).abs().mean()
        output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
    return loss


def _opponent(image: Tensor, chroma: float) -> Tensor:
    """RGB to brightness and the differences of red and blue to it, weighted."""
    red, green, blue = image.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, chroma * (red - luma), chroma * (blue - luma)], 1)


def thumbnail(images: Tensor) -> Tensor:
    """Brightness, red and blue of (B, 3, H, W) at an eighth of the size, each about unit variance.

    (B, 3, H/8, W/8). Left alone, so small an autoencoder spends its first thousand iterations on
    brightness.
    """
    spread = images.new_tensor((0.4, 0.065, 0.1)).view(3, 1, 1)
    return F.avg_pool2d(_opponent(images, 1.0), 8) / spread


def train_vae(
    recipe: VaeRecipe, frames: Frames, device: str = "cpu"
) -> tuple[AutoencoderKL, list[dict[str, float]]]:
    """Train the autoencoder from scratch.

    Returns:
        The moving average of the model, with normalised latents, on the CPU in evaluation mode;
        and the log.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        vae = build_vae()
        see_colour(vae)
    vae.to(device)
    noise = torch.Generator().manual_seed(recipe.seed)
    windows = _windows(recipe, frames, stream=40)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        images = next(windows).to(device)
        latent = vae.encode(images).latent_dist.mean
        draw = torch.randn(latent.shape, generator=noise).to(device)
        output = vae.decode(latent + recipe.noise * draw).sample
        rebuilt = reconstruction_loss(output, images, recipe.chroma)
        guide = recipe.guide * max(0.0, 1 - 2 * step / recipe.iterations)
        guided = F.mse_loss(latent[:, :3], thumbnail(images))
        return rebuilt + guide * guided, {"reconstruction": rebuilt, "thumbnail": guided}

    log = _fit(vae.parameters(), loss_of, recipe, "VAE")
    vae.eval()
    set_spread(vae, recipe.noise)
    normalise_latents(vae, *latent_statistics(vae, frames))
    return vae.cpu(), log


@dataclass(frozen=True)
class DecoderRecipe:
    """Further training of the decoder alone, on larger windows; latents stay as they are."""

    iterations: int = 900
    batch_size: int = 8
    window: int = 128
    half_size: float = 0.6
    learning_rate: float = 1.5e-3
    warmup: int = 30
    noise: float = 0.07
    chroma: float = 3.0
    average: float = 0.99
    seed: int = 0


def train_decoder(
    recipe: DecoderRecipe, vae: AutoencoderKL, frames: Frames, device: str = "cpu"
) -> tuple[AutoencoderKL, list[dict[str, float]]]:
    """Train the decoder of ``vae`` further, in place, and its convolution before.

    Returns:
        The autoencoder with the decoder's moving average, and the log.
    """
    vae = vae.to(device).requires_grad_(False)
    decoder = torch.nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    noise = torch.Generator().manual_seed(recipe.seed)
    windows = _windows(recipe, frames, stream=43)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        images = next(windows).to(device)
        with torch.no_grad():
            latent = vae.encode(images).latent_dist.mode()
        draw = torch.randn(latent.shape, generator=noise).to(device)
        output = vae.decode(latent + recipe.noise * draw).sample
        loss = reconstruction_loss(output, images, recipe.chroma)
        return loss, {"reconstruction": loss}

    log = _fit(decoder.parameters(), loss_of, recipe, "decoder")
    return vae.cpu().eval().requires_grad_(True), log


@torch.no_grad()
def see_colour(vae: AutoencoderKL) -> None:
    """Let two thirds of the first layer's groups start as detectors of colour, in place.

    Streets are nearly grey: where brightness and colour share a normalised group, brightness
    drowns colour, and the training takes long to tell them apart.
    """
    first = vae.encoder.conv_in.weight
    luma = torch.tensor((0.299, 0.587, 0.114))
    kinds = luma, 5 * (torch.eye(3)[0] - luma), 5 * (torch.eye(3)[2] - luma)
    group = len(first) // vae.config.norm_num_groups
    for channel in range(len(first)):
        sign = 1 - 2 * (channel % 2)
        first[channel, :, 1, 1] += sign * kinds[channel // group % 3]


@torch.no_grad()
def set_spread(vae: AutoencoderKL, spread: float) -> None:
    """Make the posterior's deviation the constant that the decoder was trained with, in place."""
    vae.quant_conv.weight[4:] = 0
    vae.quant_conv.bias[4:] = 2 * math.log(spread)


def latent_statistics(
    vae: AutoencoderKL, frames: Frames, count: int = 200
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (4,) of the latents of frames, half of them at half size."""
    values = []
    total = len(frames.images)
    for index in np.linspace(0, total - 1, min(count, total)).astype(int):
        image = frames.images[index]
        latent = encode_images(vae, [halved(image) if index % 2 else image])[0]
        # As many positions of a large frame as of a small one.
        values.append(latent[:, :: 1 + (index + 1) % 2, :: 1 + (index + 1) % 2].flatten(1))
    values = torch.cat(values, 1).to(vae.device)
    return values.mean(1), values.std(1)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Give latents of ``mean`` and ``std`` (4,) mean 0 and deviation 1 in each channel, in place.

    Encoder and decoder change alike, so images come out as before. Scaling factor 1 is then right
    for diffusion, and it is the scale at which VPD feeds latents to the UNet.
    """
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    weight[:4] /= std.view(4, 1, 1, 1)
    bias[:4] = (bias[:4] - mean) / std
    bias[4:] -= 2 * std.log()  # the logarithm of the variance
    weight, bias = vae.post_quant_conv.weight, vae.post_quant_conv.bias
    bias += weight[:, :, 0, 0] @ mean
    weight *= std.view(1, 4, 1, 1)


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: Sequence[np.ndarray]) -> Tensor:
    """Latents (B, 4, h, w) of uint8 RGB images of one size, on the CPU."""
    batch = to_tensor(np.stack(images)).to(vae.device)
    return vae.encode(batch).latent_dist.mode().cpu()


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: Sequence[np.ndarray]) -> float:
    """Mean peak signal-to-noise ratio in dB of uint8 images that go through the latent."""
    values = []
    for image in images:
        target = to_tensor(image[None])
        error = (vae(target).sample.clamp(-1, 1) - target).pow(2).mean()
        values.append(10 * torch.log10(4 / error))
    return float(torch.stack(values).mean())
