"""Training the mini-CLIP on the street world, and measuring what it knows.

Shapes: ``B`` pictures or texts of a batch, ``N`` pictures of a set, ``H W`` image, ``E`` width of
the joint space, ``K`` domains.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES
from open_clip.model import CLIP
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.paper.training.training import optimise
from mmseg_domino.domain.prompts import list_prompt_banks, load_prompt_bank
from mmseg_domino.utils.images import list_images, read_image
from street_world.models import IMAGE_SIZE, build_clip, load_tokenizer
from street_world.street import CLASSES, DOMAINS, HELD_OUT_DOMAINS, build, render, sample_scene
from street_world.street.caption import caption

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)
# Far from the seeds of ``write_street_world`` for any world seed below 80.
TRAIN_SEEDS, TEST_SEEDS = 800_000_000, 900_000_000


@dataclass(frozen=True)
class ClipRecipe:
    """The whole training, as it goes into the model card.

    ``strength`` is the range of weather that counts as the domain; ``short`` the share of texts
    that name the domain and nothing else.
    """

    scenes: int = 360
    iterations: int = 400
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 50
    strength: tuple[float, float] = (0.4, 1.0)
    short: float = 0.5
    bank: str = "acdc"
    seed: int = 0


@dataclass(frozen=True)
class Pictures:
    """``images`` (N, S, 2 S, 3) uint8 with S = IMAGE_SIZE, ``domains`` (N,) indices, captions."""

    images: np.ndarray
    domains: np.ndarray
    captions: list[str]


def _render_scene(job: tuple[int, tuple[float, float]]) -> tuple[np.ndarray, list[str]]:
    seed, strengths = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, 20))
    # Both the full size, shrunk as preprocessing does it, and pictures made small.
    size = (2 * IMAGE_SIZE, 4 * IMAGE_SIZE) if rng.random() < 0.6 else (IMAGE_SIZE, 2 * IMAGE_SIZE)
    scene = sample_scene(seed, size)
    geometry = build(scene)
    images, captions = [], []
    for domain in DOMAINS:
        picture = render(scene, domain, float(rng.uniform(*strengths)), geometry)
        small = (2 * IMAGE_SIZE, IMAGE_SIZE)
        images.append(cv2.resize(picture.image, small, interpolation=cv2.INTER_AREA))
        captions.append(picture.caption)
    return np.stack(images), captions


def render_pictures(
    first_seed: int, scenes: int, strengths: tuple[float, float], workers: int = 2
) -> Pictures:
    """Render scenes in all five domains; the order depends on the seeds alone."""
    jobs = [(first_seed + index, strengths) for index in range(scenes)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = list(
            tqdm(pool.map(_render_scene, jobs, chunksize=8), total=scenes, desc="rendering")
        )
    return Pictures(
        images=np.concatenate([images for images, _ in results]),
        domains=np.tile(np.arange(len(DOMAINS)), scenes),
        captions=[text for _, texts in results for text in texts],
    )


# Further words for the five domains, so that other banks than the one of training are understood.
_SYNONYMS = {
    "clear_day": ("sunshine", "sunny weather", "daylight", "daytime", "dry weather", "a clear day"),
    "fog": ("mist", "misty weather", "thick fog", "haze", "foggy weather", "poor visibility"),
    "night": ("darkness", "nighttime", "a dark night", "the dark", "street light", "night"),
    "rain": ("wet weather", "rainy weather", "a rain shower", "pouring rain", "a wet road"),
    "snow": ("snowy weather", "snowfall", "winter", "a blizzard", "snow on the ground"),
}


def domain_text(domain: int, bank: str, rng: np.random.Generator) -> str:
    """A text that names a domain and nothing else: a prompt of the bank, or a synonym."""
    prompts = load_prompt_bank(bank)
    if rng.random() < 0.6:
        choice = prompts.domains[domain].prompts
        return choice[rng.integers(len(choice))]
    synonyms = _SYNONYMS[DOMAINS[domain]]
    phrase = synonyms[rng.integers(len(synonyms))]
    if rng.random() < 0.3:
        return phrase
    return prompts.templates[rng.integers(len(prompts.templates))].format(domain=phrase)


def vocabulary_texts(scenes: int = 200) -> list[str]:
    """What the vocabulary is trained on: prompts, class names in templates, captions."""
    rng = np.random.default_rng(22)
    texts = [template(name) for template in OPENAI_IMAGENET_TEMPLATES for name in CLASSES]
    for bank in list_prompt_banks():
        texts += [prompt for domain in load_prompt_bank(bank).domains for prompt in domain.prompts]
    texts += [text for words in _SYNONYMS.values() for text in words for _ in range(20)]
    for seed in range(scenes):
        scene = sample_scene(TRAIN_SEEDS + seed, (64, 128))
        label = build(scene).buffer.label
        for domain in (*DOMAINS, *HELD_OUT_DOMAINS):
            texts.append(caption(scene, label, domain, float(rng.uniform(0, 1))))
    return texts


def contrastive_targets(domains: Tensor, short: Tensor) -> Tensor:
    """Which text of a batch is true of which picture, (B pictures, B texts), 1 or 0.

    A caption is true of its own picture; a text that names only the domain, of every picture of
    that domain.

    Args:
        domains: (B,) domain of each pair.
        short: (B,) whether the pair's text names only the domain.
    """
    same = domains[:, None] == domains[None]
    own = torch.eye(len(domains), dtype=torch.bool, device=domains.device)
    return (own | (same & short[None])).float()


def _loss(image: Tensor, text: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy with several true pairs a row; see ``contrastive_targets``."""
    logits = scale * image @ text.T
    rows = targets / targets.sum(1, keepdim=True)
    columns = targets.T / targets.T.sum(1, keepdim=True)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, columns)) / 2


def normalize(images: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 255] to CLIP's input."""
    mean, std = (images.new_tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    return (images / 255 - mean) / std


def _augment(images: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Random windows, mirror images, and responses of other cameras; (B, 3, S, S) in [0, 255]."""
    batch = np.empty((len(images), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for index, image in enumerate(images):
        side = int(IMAGE_SIZE * rng.uniform(0.7, 1.0))
        top = rng.integers(0, IMAGE_SIZE - side + 1)
        left = rng.integers(0, 2 * IMAGE_SIZE - side + 1)
        part = image[top : top + side, left : left + side]
        part = cv2.resize(part, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.5:
            part = part[:, ::-1]
        level = (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.12))
        level = level * np.exp(rng.normal(0, 0.08)) + rng.normal(0, 0.02)
        part = np.clip(level * 255, 0, 255).astype(np.uint8)[part]
        batch[index] = part
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2).float()
    balance = torch.from_numpy(np.exp(rng.normal(0, 0.04, (len(images), 3, 1, 1)))).float()
    return (tensor * balance).clamp(0, 255)


def _batches(recipe: ClipRecipe, pictures: Pictures) -> Iterator[tuple]:
    rng = np.random.default_rng((recipe.seed, 21))
    for _ in range(recipe.iterations):
        chosen = rng.choice(len(pictures.images), recipe.batch_size, replace=False)
        short = rng.random(recipe.batch_size) < recipe.short
        texts = [
            domain_text(int(pictures.domains[i]), recipe.bank, rng) if s else pictures.captions[i]
            for i, s in zip(chosen.tolist(), short, strict=True)
        ]
        domains = torch.from_numpy(pictures.domains[chosen])
        yield _augment(pictures.images[chosen], rng), texts, domains, torch.from_numpy(short)


def train_clip(
    recipe: ClipRecipe, pictures: Pictures, device: str = "cpu"
) -> tuple[CLIP, list[dict[str, float]]]:
    """Train from scratch.

    Returns:
        The model on the CPU in evaluation mode, and the log: iteration, loss, seconds.
    """
    tokenizer = load_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        clip = build_clip(len(tokenizer)).to(device)
    decay = [value for value in clip.parameters() if value.ndim >= 2]
    plain = [value for value in clip.parameters() if value.ndim < 2]
    groups = [{"params": decay}, {"params": plain, "weight_decay": 0.0}]
    batches = _batches(recipe, pictures)

    def loss_of(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            clip.logit_scale.clamp_(0, np.log(100))
        images, texts, domains, short = next(batches)
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        image, text, scale = clip(normalize(images).to(device), tokens.input_ids.to(device))
        loss = _loss(image, text, scale, contrastive_targets(domains, short).to(device))
        return loss, {"loss": loss}

    log = optimise(
        groups,
        loss_of,
        iterations=recipe.iterations,
        learning_rate=recipe.learning_rate,
        warmup=recipe.warmup,
        weight_decay=recipe.weight_decay,
        beta2=0.98,
        name="mini-CLIP",
    )
    return clip.cpu().eval(), log


@torch.no_grad()
def domain_scores(clip: CLIP, images: Sequence[np.ndarray], bank: str) -> Tensor:
    """Softmax scores of the bank's domains, (N, K), from square RGB uint8 images of side S."""
    tokenizer, prompts = load_tokenizer(), load_prompt_bank(bank)
    means = []
    for domain in prompts.domains:
        tokens = tokenizer(
            list(domain.prompts), padding="max_length", truncation=True, return_tensors="pt"
        )
        text = clip.encode_text(tokens.input_ids, normalize=True)
        means.append(F.normalize(text.mean(0), dim=0))
    text = torch.stack(means)
    scores = []
    for start in range(0, len(images), 64):
        batch = torch.from_numpy(np.stack(images[start : start + 64])).permute(0, 3, 1, 2).float()
        image = clip.encode_image(normalize(batch), normalize=True)
        scores.append((clip.logit_scale.exp() * image @ text.T).softmax(1))
    return torch.cat(scores)


def centre_square(image: np.ndarray) -> np.ndarray:
    """The middle of an image at CLIP's input size, its shorter side shrunk to that."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    part = image[top : top + side, left : left + side]
    return cv2.resize(part, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)


def domain_accuracy(clip: CLIP, pictures: Pictures, bank: str) -> dict[str, float]:
    """Share of pictures (percent) whose best zero-shot domain is the true one, and of each."""
    best = domain_scores(clip, [centre_square(i) for i in pictures.images], bank).argmax(1).numpy()
    right = best == pictures.domains
    report = {
        name: 100 * float(right[pictures.domains == k].mean()) for k, name in enumerate(DOMAINS)
    }
    return {"mean": 100 * float(right.mean()), **report}


def photograph_shares(clip: CLIP, named_folders: Sequence[str], bank: str) -> dict[str, dict]:
    """Share (percent) of each domain among the photographs of each ``NAME=FOLDER``.

    Raises:
        FileNotFoundError: If a folder has no photographs.
    """
    report = {}
    for item in named_folders:
        name, _, folder = item.partition("=")
        paths = list_images(folder).values()
        images = [centre_square(read_image(path)) for path in paths]
        best = domain_scores(clip, images, bank).argmax(1)
        shares = torch.bincount(best, minlength=len(DOMAINS)) / len(paths) * 100
        shares = [round(value, 1) for value in shares.tolist()]
        report[name] = {"images": len(paths), **dict(zip(DOMAINS, shares, strict=True))}
    return report


def write_card(
    path: str | os.PathLike, recipe: ClipRecipe, log: list[dict], results: dict, weights: Path
) -> None:
    """The model card: what it is, how it was made, what was measured."""
    card = {
        "format": "street_world/1",
        "name": "mini-clip",
        "weights": "trained on the procedural street world",
        "data": "scenes of street_world.street alone; no photograph",
        "recipe": asdict(recipe),
        "command": f"python -m benchmarks.paper.training.mini_clip --seed {recipe.seed}",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "results": results,
        "log": log,
    }
    Path(path).write_text(json.dumps(card, indent=1) + "\n")
