"""Pictures out of the miniature diffusion models, through diffusers' own pipelines, and a judge.

Shapes: ``N`` pictures, ``H W`` their size, multiples of 64.
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from open_clip.model import CLIP

from benchmarks.paper.training.clip_training import centre_square, domain_scores
from mmseg_domino.domain.prompts import load_prompt_bank
from mmseg_domino.synthesis.colours import class_colours, control_image
from mmseg_domino.synthesis.diffusion import ControlNetGenerator
from mmseg_domino.synthesis.generators import Request
from street_world.street import CLASSES, DOMAINS


def open_pipeline(folder: str | os.PathLike, device: str = "cpu") -> StableDiffusionPipeline:
    """The diffusers pipeline of a mini-SD folder, without a progress bar."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, local_files_only=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def open_controlled(
    model: str | os.PathLike,
    controlnet: str | os.PathLike,
    steps: int,
    guidance: float,
    size: tuple[int, int] = (128, 256),
) -> ControlNetGenerator:
    """The generator of a mini-SD folder that a mini-ControlNet steers."""
    return ControlNetGenerator(
        model=str(model), controlnet=str(controlnet), size=size, steps=steps,
        guidance_scale=guidance, precision="fp32",
    )  # fmt: skip


def control_requests(
    images: Sequence[np.ndarray], labels: Sequence[np.ndarray], domain: str, seeds: Sequence[int]
) -> list[Request]:
    """Ask for pictures of label maps in a domain.

    Args:
        images: (N, H, W, 3) uint8, what the world shows of them.
        labels: (N, H, W) uint8.
        domain: One of the five.
        seeds: (N,) of the noise; they choose the prompts, too.
    """
    colours = class_colours(CLASSES)
    prompts = load_prompt_bank("acdc").domains[DOMAINS.index(domain)].prompts
    return [
        Request(
            name=str(seed),
            domain=domain,
            image=np.array(image),
            label=np.array(label),
            classes=CLASSES,
            control=control_image(np.array(label), colours),
            prompt=prompts[seed % len(prompts)],
            negative_prompt="",
            seed=int(seed),
        )
        for image, label, seed in zip(images, labels, seeds, strict=True)
    ]


def domain_prompts(bank: str, count: int) -> list[str]:
    """``count`` prompts of each of the five domains, domain after domain."""
    domains = load_prompt_bank(bank).domains
    return [domain.prompts[i % len(domain.prompts)] for domain in domains for i in range(count)]


def sample_pictures(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
    steps: int = 30,
    guidance: float = 3.0,
    batch_size: int = 10,
) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB; picture ``i`` depends on ``prompts[i]`` and ``seed + i`` alone."""
    pictures = []
    for start in range(0, len(prompts), batch_size):
        part = list(prompts[start : start + batch_size])
        output = pipeline(
            part,
            height=size[0],
            width=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + start + i) for i in range(len(part))],
            output_type="np",
        )
        pictures.append((output.images * 255 + 0.5).astype(np.uint8))
    return np.concatenate(pictures)


def judged_domains(clip: CLIP, pictures: np.ndarray, bank: str) -> dict[str, float]:
    """What the mini-CLIP makes of as many pictures of each domain, in the domains' order.

    Returns:
        Share in percent whose best zero-shot domain is the one asked for: mean, and by domain.
    """
    scores = domain_scores(clip, [centre_square(picture) for picture in pictures], bank)
    right = (scores.argmax(1).view(len(DOMAINS), -1) == torch.arange(len(DOMAINS))[:, None]).float()
    shares = {"mean": 100 * float(right.mean())}
    shares |= {name: 100 * float(right[k].mean()) for k, name in enumerate(DOMAINS)}
    return {name: round(value, 1) for name, value in shares.items()}


def layout_agreement(made: np.ndarray, rendered: np.ndarray) -> dict[str, float]:
    """How far pictures have the layout of those they should have.

    Brightness at 16 x 32, less the mean over the pictures (what all streets have in common says
    nothing), compared by its cosine.

    Args:
        made: (N, H, W, 3) uint8, from N label maps.
        rendered: (N, H, W, 3) uint8, the world's pictures with these label maps.

    Returns:
        ``own`` and ``others``: mean cosine with the picture of the same and of other label maps;
        ``found_percent``: how often the same is the nearest (chance: 100 / N).
    """

    def outlines(pictures: np.ndarray) -> np.ndarray:
        grey = pictures.mean(3)
        small = np.stack([cv2.resize(p, (32, 16), interpolation=cv2.INTER_AREA) for p in grey])
        small = (small - small.mean(0)).reshape(len(small), -1)
        return small / np.linalg.norm(small, axis=1, keepdims=True)

    alike = outlines(made) @ outlines(rendered).T
    same = np.eye(len(alike), dtype=bool)
    found = alike.argmax(1) == np.arange(len(alike))
    return {
        "own": round(float(alike[same].mean()), 3),
        "others": round(float(alike[~same].mean()), 3),
        "found_percent": round(100 * float(found.mean()), 1),
    }


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], names: Sequence[str]) -> np.ndarray:
    """Rows of pictures (H, W, 3) of one size, each with its name at the left; RGB uint8."""
    height, margin = rows[0][0].shape[0], 96
    lines = []
    for row, name in zip(rows, names, strict=True):
        label = np.full((height, margin, 3), 255, np.uint8)
        cv2.putText(
            label, name, (4, height // 2 + 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1,
            cv2.LINE_AA,
        )  # fmt: skip
        lines.append(np.concatenate([label, *row], axis=1))
    return np.concatenate(lines)
