"""Training a denoiser on the street world: latents, texts, batches and the loop.

Shared by the mini-SD's UNet and the mini-ControlNet. Shapes: ``B`` batch, ``N`` frames, ``h w``
latent (an eighth of the image), ``T`` tokens of a text, ``D`` width of the text tower.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.paper.training.clip_training import domain_text
from benchmarks.paper.training.training import optimise
from benchmarks.paper.training.vae_training import encode_images, halved
from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.utils.io import atomic_write
from street_world.frames import Frames
from street_world.models import build_scheduler
from street_world.street import CLASSES


@dataclass(frozen=True)
class View:
    """A kind of training example: a window of latents, of frames at full or at half size."""

    source: str  # "half" or "full"
    height: int
    width: int
    batch_size: int
    share: float  # of the iterations


@dataclass(frozen=True)
class Latents:
    """``half`` (N, 4, H/16, W/16) of all frames at half size, ``full`` (M, 4, H/8, W/8) of those
    whose numbers are in ``full_frames`` (M,)."""

    half: Tensor
    full: Tensor
    full_frames: np.ndarray


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


@dataclass(frozen=True)
class TrainingData:
    """What a denoiser is trained on: frames, their latents, and the states of texts."""

    latents: Latents
    frames: Frames
    texts: TextStates


@dataclass(frozen=True)
class Batch:
    """Noisy windows and their velocity (B, 4, h, w), steps (B,), states of texts (B, T, D)."""

    windows: Windows
    noisy: Tensor
    velocity: Tensor
    steps: Tensor
    context: Tensor


def train_denoiser(
    model: torch.nn.Module,
    predict: Callable[[Batch], Tensor],
    recipe: Any,
    data: TrainingData,
    stream: int,
    texts: Sequence[Sequence[float]],
    layout: Sequence[bool],
) -> list[dict[str, float]]:
    """Train in place, phase after phase; ends with the moving average of the weights.

    Args:
        model: Whose parameters are trained.
        predict: The velocity of a batch, (B, 4, h, w).
        recipe: With ``phases`` (iterations, learning rate, views) and what these share.
        stream: Of the random numbers that choose frames, windows and texts.
        texts: Of each phase, the shares of ``draw_text``.
        layout: Of each phase, as for ``velocity_loss``.

    Returns:
        The log, each line with the number of its phase.
    """
    log = []
    for number, phase in enumerate(recipe.phases):
        batches = _batches(recipe, number, data, stream, texts[number], model.device)
        lines = optimise(
            model.parameters(),
            partial(_loss, predict, batches, recipe.snr_limit, layout[number]),
            iterations=phase.iterations,
            learning_rate=phase.learning_rate,
            warmup=recipe.warmup,
            weight_decay=recipe.weight_decay,
            average=recipe.average,
            name=type(model).__name__,
        )
        log += [{"phase": number + 1, **line} for line in lines]
    return log


def _batches(
    recipe: Any,
    number: int,
    data: TrainingData,
    stream: int,
    texts: Sequence[float],
    device: torch.device,
) -> Iterator[Batch]:
    rng = np.random.default_rng((recipe.seed, stream + 100 * number))
    noise = torch.Generator().manual_seed(recipe.seed + 1000 * number)
    scheduler = build_scheduler()
    while True:
        windows = draw_windows(recipe.phases[number].views, data.latents, rng)
        context = data.texts(
            [draw_text(i, data.frames, texts, recipe.bank, rng) for i in windows.frames]
        )
        noisy, velocity, steps = (
            value.to(device) for value in diffuse(windows.latents, scheduler, noise)
        )
        yield Batch(windows, noisy, velocity, steps, context)


def _loss(
    predict: Callable[[Batch], Tensor],
    batches: Iterator[Batch],
    snr_limit: float,
    layout: bool,
    step: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    batch, scheduler = next(batches), build_scheduler()
    output = predict(batch)
    loss = velocity_loss(output, batch.velocity, scheduler, batch.steps, snr_limit, layout)
    return loss, {"loss": loss}
