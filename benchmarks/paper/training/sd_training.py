"""Training the mini-SD on the street world: the autoencoder, then the UNet over its latents.

Shapes: ``B`` batch, ``N`` frames, ``H W`` image, ``h w`` latent (an eighth of the image), ``T``
tokens of a text, ``D`` width of the text tower.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.paper.training.clip_training import domain_text
from benchmarks.paper.training.training import optimise
from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.utils.io import atomic_write
from street_world.frames import FrameRecipe, Frames
from street_world.models import build_scheduler, build_unet, build_vae
from street_world.street import CLASSES

__all__ = [
    "DecoderRecipe",
    "Latents",
    "TextStates",
    "UnetPhase",
    "UnetRecipe",
    "VaeRecipe",
    "View",
    "encode_frames",
    "load_latents",
    "normalise_latents",
    "reconstruction_loss",
    "reconstruction_psnr",
    "train_decoder",
    "train_unet",
    "train_unet_phase",
    "train_vae",
    "velocity_loss",
]


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

    log = optimise(
        vae.parameters(),
        loss_of,
        iterations=recipe.iterations,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=1e-4,
        average=recipe.average,
        name="VAE",
    )
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

    log = optimise(
        decoder.parameters(),
        loss_of,
        iterations=recipe.iterations,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=1e-4,
        average=recipe.average,
        name="decoder",
    )
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


@dataclass(frozen=True)
class View:
    """A kind of training example: a window of latents, of frames at full or at half size."""

    source: str  # "half" or "full"
    height: int
    width: int
    batch_size: int
    share: float  # of the iterations


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


@dataclass(frozen=True)
class Latents:
    """``half`` (N, 4, H/16, W/16) of all frames at half size, ``full`` (M, 4, H/8, W/8) of those
    whose numbers are in ``full_frames`` (M,)."""

    half: Tensor
    full: Tensor
    full_frames: np.ndarray


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: Sequence[np.ndarray]) -> Tensor:
    """Latents (B, 4, h, w) of uint8 RGB images of one size, on the CPU."""
    batch = to_tensor(np.stack(images)).to(vae.device)
    return vae.encode(batch).latent_dist.mode().cpu()


def encode_frames(
    vae: AutoencoderKL, frames: Frames, full_step: int = 2, device: str = "cpu"
) -> Latents:
    """Latents of all frames at half size, and of every ``full_step``-th at full size."""
    vae = vae.to(device)
    full_frames = np.arange(0, len(frames.images), full_step)
    half, full = [], []
    for index, image in enumerate(tqdm(frames.images, desc="latents")):
        half.append(encode_images(vae, [halved(image)]))
        if index % full_step == 0:
            full.append(encode_images(vae, [image]))
    vae.cpu()
    return Latents(torch.cat(half).contiguous(), torch.cat(full).contiguous(), full_frames)


def load_latents(path: Path, vae: AutoencoderKL, frames: Frames, device: str = "cpu") -> Latents:
    """The latents in ``path``; encoded first, unless they are those of autoencoder and frames."""
    digest = hashlib.sha256(frames.images[0].tobytes() + frames.images[-1].tobytes())
    for part in (vae.encoder, vae.quant_conv):
        for value in part.state_dict().values():
            digest.update(value.numpy().tobytes())
    wanted = {"sha256": digest.hexdigest(), "frames": str(len(frames.images))}
    if path.is_file():
        with safe_open(path, "pt") as file:
            if file.metadata() == wanted:
                half, full, numbers = map(file.get_tensor, ("half", "full", "full_frames"))
                return Latents(half, full, numbers.numpy())
    latents = encode_frames(vae, frames, device=device)
    tensors = {"half": latents.half, "full": latents.full}
    tensors["full_frames"] = torch.from_numpy(latents.full_frames)
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=wanted)
    return latents


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: Sequence[np.ndarray]) -> float:
    """Mean peak signal-to-noise ratio in dB of uint8 images that go through the latent."""
    values = []
    for image in images:
        target = to_tensor(image[None])
        error = (vae(target).sample.clamp(-1, 1) - target).pow(2).mean()
        values.append(10 * torch.log10(4 / error))
    return float(torch.stack(values).mean())


class TextStates:
    """The text tower's states (T, D), as diffusers' pipeline computes them, remembered."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, device: str = "cpu"):
        self.encoder, self.tokenizer, self.device = encoder.to(device).eval(), tokenizer, device
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(B, T, D) of ``B`` texts."""
        new = sorted(set(texts) - self._known.keys())
        if new:
            tokens = self.tokenizer(
                new, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids.to(self.device)
            states = self.encoder(tokens)[0]
            self._known.update(zip(new, states.half().cpu(), strict=True))
        return torch.stack([self._known[text] for text in texts]).float().to(self.device)


def shown_classes(label: np.ndarray, least: float = 0.002, most: int = 8) -> str:
    """``"road, car and sky"``: the classes of a label map (H, W), the largest first."""
    counts = np.bincount(label.ravel(), minlength=256)[: len(CLASSES)]
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= least * label.size]
    names = [CLASSES[i] for i in order[:most]] or ["road"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def draw_text(
    frame: int, frames: Frames, shares: Sequence[float], bank: str, rng: np.random.Generator
) -> str:
    """A text that is true of a frame; see ``UnetRecipe.texts``."""
    kind = rng.choice(4, p=shares)
    domain = int(frames.domains[frame])
    if kind == 0:
        return frames.captions[frame]
    if kind == 1:
        return domain_text(domain, bank, rng)
    if kind == 2:
        prompts = load_prompt_bank(bank).domains[domain].prompts
        prompt = prompts[rng.integers(len(prompts))]
        return f"{prompt}, with {shown_classes(frames.labels[frames.scenes[frame]])}"
    return ""


@dataclass(frozen=True)
class Windows:
    """A batch: latents (B, 4, h, w), whose frames, and where each window lies in its source."""

    latents: Tensor
    frames: np.ndarray
    source: str
    corners: list[tuple[int, int]]


def draw_windows(views: Sequence[View], latents: Latents, rng: np.random.Generator) -> Windows:
    """Draw a view, frames and windows."""
    shares = np.array([view.share for view in views])
    view = views[rng.choice(len(views), p=shares / shares.sum())]
    pool = latents.half if view.source == "half" else latents.full
    rows = rng.choice(len(pool), min(view.batch_size, len(pool)), replace=False)
    parts, corners = [], []
    for row in rows:
        top = int(rng.integers(0, pool.shape[2] - view.height + 1))
        left = int(rng.integers(0, pool.shape[3] - view.width + 1))
        parts.append(pool[row, :, top : top + view.height, left : left + view.width])
        corners.append((top, left))
    frames = rows if view.source == "half" else latents.full_frames[rows]
    return Windows(torch.stack(parts), frames, view.source, corners)


def velocity_loss(
    output: Tensor,
    target: Tensor,
    scheduler: DDIMScheduler,
    steps: Tensor,
    snr_limit: float,
    layout: bool = True,
) -> Tensor:
    """Mean squared error of v, with less weight where there is hardly any noise.

    Args:
        steps: (B,) of the diffusion process.
        snr_limit: Signal-to-noise ratio above which weights fall.
        layout: Weigh all steps of more noise than that alike, min(1, limit / SNR). Otherwise as
            Hang et al. (2023), "Efficient diffusion training via min-SNR weighting strategy",
            min(SNR, limit) / (SNR + 1), with 0.1 in place of a smaller numerator.
    """
    alpha = scheduler.alphas_cumprod.to(output.device)[steps]
    snr = alpha / (1 - alpha)
    if layout:
        weight = (snr_limit / snr.clamp(min=1e-6)).clamp(max=1.0)
    else:
        weight = snr.clamp(min=0.1, max=snr_limit) / (snr + 1)
    return (weight * (output - target).pow(2).mean((1, 2, 3))).mean()


def train_unet(
    recipe: UnetRecipe, latents: Latents, frames: Frames, texts: TextStates, device: str = "cpu"
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
    log = []
    for number in range(len(recipe.phases)):
        lines = train_unet_phase(unet, recipe, number, latents, frames, texts)
        log += [{"phase": number + 1, **line} for line in lines]
    return unet.cpu().to(memory_format=torch.contiguous_format).eval(), log


def train_unet_phase(
    unet: UNet2DConditionModel,
    recipe: UnetRecipe,
    number: int,
    latents: Latents,
    frames: Frames,
    texts: TextStates,
) -> list[dict[str, float]]:
    """Train in place; ends with the moving average of the weights. Returns the log."""
    phase, device = recipe.phases[number], unet.device
    scheduler = build_scheduler()
    rng = np.random.default_rng((recipe.seed, 41 + 100 * number))
    noise = torch.Generator().manual_seed(recipe.seed + 1000 * number)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        windows = draw_windows(phase.views, latents, rng)
        context = texts(
            [draw_text(i, frames, recipe.texts, recipe.bank, rng) for i in windows.frames]
        )
        noisy, target, steps = (
            value.to(device) for value in diffuse(windows.latents, scheduler, noise)
        )
        output = unet(noisy, steps, context).sample
        loss = velocity_loss(output, target, scheduler, steps, recipe.snr_limit, phase.layout)
        return loss, {"loss": loss}

    return optimise(
        unet.parameters(),
        loss_of,
        iterations=phase.iterations,
        learning_rate=phase.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        average=recipe.average,
        name="UNet",
    )


def diffuse(
    latents: Tensor, scheduler: DDIMScheduler, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, the velocity that is to be predicted, and the steps (B,) of each.

    The steps are drawn one from each of ``B`` equal parts of the schedule.
    """
    count, total = len(latents), len(scheduler.alphas_cumprod)
    places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    steps = (places * total).long().clamp(max=total - 1)
    draw = torch.randn(latents.shape, generator=generator)
    noisy = scheduler.add_noise(latents, draw, steps)
    return noisy, scheduler.get_velocity(latents, draw, steps), steps
