"""Rendered frames that the miniature diffusion models are trained on, kept in memory-mapped files.

Shapes: ``N`` frames, ``S`` scenes, ``H W`` image.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from street_world.files import atomic_write
from street_world.street import DOMAINS, build, render, sample_scene
from street_world.trees import WORLD_VERSION

# Far from the seeds of ``write_street_world`` and of the mini-CLIP's pictures.
FRAME_SEEDS = 810_000_000


@dataclass(frozen=True)
class FrameRecipe:
    """Which frames: every scene is shown in ``shown`` of the five domains, all equally often.

    ``strength`` is the range of weather, as in the training of the mini-CLIP.
    """

    scenes: int = 1500
    shown: int = 3
    size: tuple[int, int] = (256, 512)
    strength: tuple[float, float] = (0.4, 1.0)
    seed: int = 0


@dataclass(frozen=True)
class Frames:
    """Frames and what is known of them.

    ``images`` (N, H, W, 3) uint8 RGB, ``labels`` (S, H, W) uint8 training numbers, ``scenes`` and
    ``domains`` (N,) indices, ``captions`` N sentences.
    """

    images: np.ndarray
    labels: np.ndarray
    scenes: np.ndarray
    domains: np.ndarray
    captions: list[str]


def shown_domains(scene: int, shown: int) -> list[int]:
    """The domains of a scene by its number: neighbours on a circle, evenly spread over scenes."""
    return [(2 * scene + step) % len(DOMAINS) for step in range(shown)]


def _render_scene(job: tuple[FrameRecipe, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    recipe, index = job
    cv2.setNumThreads(1)
    seed = FRAME_SEEDS + 100_000 * recipe.seed + index
    rng = np.random.default_rng((seed, 30))
    scene = sample_scene(seed, recipe.size)
    geometry = build(scene)
    images, captions = [], []
    for domain in shown_domains(index, recipe.shown):
        strength = float(rng.uniform(*recipe.strength))
        picture = render(scene, DOMAINS[domain], strength, geometry)
        images.append(picture.image)
        captions.append(picture.caption)
    return np.stack(images), picture.label, captions


def _rendered(jobs: list[tuple[FrameRecipe, int]], workers: int) -> Iterator[tuple]:
    if workers < 1:
        yield from map(_render_scene, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from tqdm(pool.map(_render_scene, jobs, chunksize=8), total=len(jobs), desc="frames")


def _write_frames(folder: Path, recipe: FrameRecipe, workers: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("images.npy", "labels.npy"):  # who has the old ones open keeps them
        (folder / name).unlink(missing_ok=True)
    shape = (recipe.scenes * recipe.shown, *recipe.size, 3)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
    labels = np.lib.format.open_memmap(
        folder / "labels.npy", "w+", np.uint8, (recipe.scenes, *recipe.size)
    )
    jobs = [(recipe, index) for index in range(recipe.scenes)]
    captions: list[str] = []
    for index, (pictures, label, texts) in enumerate(_rendered(jobs, workers)):
        images[index * recipe.shown : (index + 1) * recipe.shown] = pictures
        labels[index] = label
        captions += texts
    images.flush()
    labels.flush()
    return captions


def load_frames(folder: str | os.PathLike, recipe: FrameRecipe, workers: int = 2) -> Frames:
    """The frames of ``recipe``, rendered into ``folder`` unless they are there already.

    What they are depends on the recipe alone, not on the number of processes.

    Args:
        folder: Receives 0.4 MB a frame of 256 x 512.
        workers: Processes that render; 0 renders in this one.
    """
    folder = Path(folder)
    manifest = folder / "frames.json"
    wanted = json.loads(json.dumps({"world": WORLD_VERSION, **asdict(recipe)}))
    known = json.loads(manifest.read_text()) if manifest.is_file() else {}
    if known.get("recipe") != wanted:
        manifest.unlink(missing_ok=True)
        known = {"recipe": wanted, "captions": _write_frames(folder, recipe, workers)}
        with atomic_write(manifest) as path:
            path.write_text(json.dumps(known) + "\n")
    domains = [d for scene in range(recipe.scenes) for d in shown_domains(scene, recipe.shown)]
    return Frames(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        labels=np.load(folder / "labels.npy", mmap_mode="r"),
        scenes=np.repeat(np.arange(recipe.scenes), recipe.shown),
        domains=np.array(domains),
        captions=known["captions"],
    )
