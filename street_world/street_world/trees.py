"""The street world on disk, as the ordinary Cityscapes and ACDC trees.

``cityscapes`` holds clear days only: train and val, with disparity and camera as Cityscapes has
them, of the scene's exact depth. ``acdc`` holds fog, night, rain and snow, for
validation (the scenes of no training image), with the same scenes on a clear day as references;
``held_out`` holds, in ACDC's layout, the domains that nothing is tuned on. Every object is an
instance: Cityscapes' instance images, and COCO files of boxes and masks, ACDC's with a name that
begins in the condition.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from street_world.files import atomic_write
from street_world.instances import instance_ids, write_coco
from street_world.street import HELD_OUT_DOMAINS, IGNORE, Rendering, build, render, sample_scene
from street_world.street.classes import label_ids
from street_world.street.raster import Camera

ACDC_CONDITIONS = ("fog", "night", "rain", "snow")
MANIFEST = "street_world.json"
WORLD_VERSION = 2  # raise it when the same seed gives another picture
LAYOUT = 2  # raise it when there are other files
BASELINE = 0.209313  # metres between Cityscapes' cameras
CITY = {"train": "ministadt", "val": "musterhausen"}
SEQUENCE = "GOPR0001"
_SEED_STRIDE = 1_000_000  # seeds of train and val never meet


@dataclass(frozen=True)
class _Job:
    """One scene, to be written in the domains given."""

    root: str
    split: str
    index: int
    seed: int
    size: tuple[int, int]
    domains: tuple[str, ...]


def write_street_world(
    root: str | os.PathLike,
    train: int = 240,
    val: int = 24,
    size: tuple[int, int] = (128, 256),
    seed: int = 0,
    workers: int | None = None,
    acdc_train: int = 0,
    progress: bool = True,
) -> Path:
    """Write the street world below ``root``, unless it is there already.

    A second call with the same arguments writes nothing; after an interruption only what is
    missing is written; with other arguments the old files are replaced.

    Args:
        root: Folder that receives ``cityscapes``, ``acdc`` and ``held_out``.
        train: Number of training scenes, clear day.
        val: Number of validation scenes, in every domain.
        size: (height, width) of the images in pixels.
        seed: Seed of the whole world.
        workers: Processes; the number of cores by default. 0 writes in this process.
        acdc_train: Number of ``train`` images in each ACDC condition (none by default: the method
            sees no target image); they are further scenes, in no other split.
        progress: Show a progress bar.

    Returns:
        ``root``.

    Raises:
        ValueError: If a number is negative, or a size too small.
    """
    root = Path(root)
    numbers = {"train": train, "val": val, "seed": seed, "acdc_train": acdc_train}
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{name} is {value}; expected a non-negative integer")
    sample_scene(0, size)  # checks the size before any file is touched
    wanted = {
        "format": f"mmseg_domino.street_world/{WORLD_VERSION}",
        **numbers,
        "size": [int(size[0]), int(size[1])],
        "layout": LAYOUT,
    }
    manifest = root / MANIFEST
    known = json.loads(manifest.read_text()) if manifest.is_file() else {}
    if known == {**wanted, "complete": True}:
        return root
    jobs = list(_jobs(root, train, val, acdc_train, (int(size[0]), int(size[1])), seed))
    # A world of another layout lacks files, and has no wrong ones.
    if {**known, "complete": False, "layout": LAYOUT} == {**wanted, "complete": False}:
        jobs = [job for job in jobs if not _is_written(job)]
    else:
        _remove_old(root)
        _write_manifest(manifest, {**wanted, "complete": False})
    _run(jobs, os.cpu_count() or 1 if workers is None else workers, progress)
    _write_instances(root, list(_jobs(root, train, val, acdc_train, tuple(wanted["size"]), seed)))
    _write_manifest(manifest, {**wanted, "complete": True})
    return root


def _jobs(
    root: Path, train: int, val: int, acdc_train: int, size: tuple[int, int], seed: int
) -> Iterator[_Job]:
    first = 10 * _SEED_STRIDE * seed
    held_out = ("clear_day", *ACDC_CONDITIONS, *HELD_OUT_DOMAINS)
    for index in range(train):
        yield _Job(str(root), "train", index, first + index, size, ("clear_day",))
    for index in range(val):
        yield _Job(str(root), "val", index, first + _SEED_STRIDE + index, size, held_out)
    for index in range(acdc_train):
        number = first + 2 * _SEED_STRIDE + index
        yield _Job(str(root), "train", index, number, size, ACDC_CONDITIONS)


def _files(job: _Job, domain: str) -> dict[str, Path]:
    """Paths of one picture by what they hold."""
    root = Path(job.root)
    if domain == "clear_day":
        city = CITY[job.split]
        name = f"{city}_{job.index:06d}_000019"
        fine = root / "cityscapes" / "gtFine" / job.split / city
        images = root / "cityscapes" / "leftImg8bit" / job.split / city
        return {
            "image": images / f"{name}_leftImg8bit.png",
            "train_ids": fine / f"{name}_gtFine_labelTrainIds.png",
            "label_ids": fine / f"{name}_gtFine_labelIds.png",
            "instance_ids": fine / f"{name}_gtFine_instanceIds.png",
            "disparity": _beside(root, "disparity", job.split, f"{name}_disparity.png"),
            "camera": _beside(root, "camera", job.split, f"{name}_camera.json"),
        }
    base = root / ("acdc" if domain in ACDC_CONDITIONS else "held_out")
    name = f"{SEQUENCE}_frame_{job.index:06d}"
    labels = base / "gt" / domain / job.split / SEQUENCE
    images = base / "rgb_anon" / domain
    files = {
        "image": images / job.split / SEQUENCE / f"{name}_rgb_anon.png",
        "train_ids": labels / f"{name}_gt_labelTrainIds.png",
        "label_ids": labels / f"{name}_gt_labelIds.png",
        "instance_ids": labels / f"{name}_gt_instanceIds.png",
    }
    if domain in ACDC_CONDITIONS:
        files["reference"] = images / f"{job.split}_ref" / SEQUENCE / f"{name}_rgb_ref_anon.png"
    return files


def _beside(root: Path, kind: str, split: str, name: str) -> Path:
    return root / "cityscapes" / kind / split / CITY[split] / name


def _captions(job: _Job) -> Path:
    return Path(job.root) / "captions" / job.split / f"{job.seed}.json"


def _is_written(job: _Job) -> bool:
    return _captions(job).is_file() and all(
        path.is_file() for domain in job.domains for path in _files(job, domain).values()
    )


def _write_job(job: _Job) -> None:
    """Render one scene in its domains; the captions come last and seal the job."""
    cv2.setNumThreads(1)
    scene = sample_scene(job.seed, job.size)
    geometry = build(scene)
    ids = instance_ids(geometry.buffer.label, geometry.buffer.thing)
    for domain in job.domains:
        _write_png(_files(job, domain)["instance_ids"], ids)
    if _is_written(job):  # of an older layout
        return
    reference = None
    captions = {}
    for domain in job.domains:
        rng = np.random.default_rng((job.seed, 10, len(captions)))
        strength = 1.0 if domain == "clear_day" else float(rng.uniform(0.55, 1.0))
        picture = render(scene, domain, strength, geometry)
        files = _files(job, domain)
        _write_png(files["image"], picture.image[..., ::-1])
        _write_png(files["train_ids"], picture.label)
        _write_png(files["label_ids"], label_ids(picture.label))
        if "disparity" in files:
            _write_png(files["disparity"], _disparity(picture, scene.camera.focal))
            _write_camera(files["camera"], scene.camera)
        if "reference" in files:
            if reference is None:
                reference = render(scene, "clear_day", geometry=geometry).image[..., ::-1]
            _write_png(files["reference"], reference)
        path = files["image"].relative_to(job.root).as_posix()
        captions[path] = {
            "caption": picture.caption, "domain": domain, "strength": round(strength, 4)
        }  # fmt: skip
    with atomic_write(_captions(job)) as path:
        path.write_text(json.dumps(captions, indent=1) + "\n")


def _write_instances(root: Path, jobs: list[_Job]) -> None:
    """COCO files, one a split of each tree, of the instance images."""
    found: dict[Path, list[tuple[str, Path]]] = {}
    for job in jobs:
        for domain in job.domains:
            files = _files(job, domain)
            if domain == "clear_day":
                file = (
                    root
                    / "cityscapes/annotations"
                    / f"instancesonly_filtered_gtFine_{job.split}.json"
                )
                images = files["image"].parents[1]
            else:
                base = root / ("acdc" if domain in ACDC_CONDITIONS else "held_out")
                file = base / "gt_detection" / f"instancesonly_{job.split}_gt_detection.json"
                images = base / "rgb_anon"
            name = files["image"].relative_to(images).as_posix()
            found.setdefault(file, []).append((name, files["instance_ids"]))
    for file, frames in found.items():
        write_coco(file, [(n, cv2.imread(str(p), cv2.IMREAD_UNCHANGED)) for n, p in sorted(frames)])


def _disparity(picture: Rendering, focal: float) -> np.ndarray:
    """As Cityscapes stores it, (H, W) uint16: 256 d + 1 for d pixels, 0 where it is unknown.

    Unknown is our own bonnet, as there; the sky has d = 0.
    """
    pixels = np.float32(BASELINE * focal) / picture.depth
    stored = np.clip(np.rint(256 * pixels) + 1, 1, 65535).astype(np.uint16)
    stored[picture.label == IGNORE] = 0
    return stored


def _write_camera(path: Path, camera: Camera) -> None:
    """The keys of Cityscapes' camera files that turn disparity into depth and positions."""
    content = {
        "extrinsic": {"baseline": BASELINE, "z": camera.height},
        "intrinsic": {
            "fx": camera.focal, "fy": camera.focal, "u0": camera.centre, "v0": camera.horizon
        },
    }  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _write_png(path: Path, image: np.ndarray) -> None:
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), image):
            raise OSError(f"cannot write {path}")


def _run(jobs: list[_Job], workers: int, progress: bool) -> None:
    bar = tqdm(total=len(jobs), desc="street world", unit="scene", disable=not progress or not jobs)
    with bar:
        if workers <= 1 or len(jobs) < 2:
            for job in jobs:
                _write_job(job)
                bar.update()
            return
        # Not fork: the caller may hold locks of torch or OpenCV.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(_write_job, jobs, chunksize=4):
                bar.update()


def _write_manifest(path: Path, content: dict) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _remove_old(root: Path) -> None:
    """Remove the pictures of another world: only files with names that this module gives."""
    patterns = (
        "cityscapes/*/*/*/*_000019_*.png",
        "cityscapes/camera/*/*/*_000019_camera.json",
        f"*/*/*/*/{SEQUENCE}/{SEQUENCE}_frame_*.png",
        "captions/*/*.json",
        "cityscapes/annotations/instancesonly_filtered_gtFine_*.json",
        "*/gt_detection/instancesonly_*_gt_detection.json",
    )
    for pattern in patterns:
        for path in root.glob(pattern):
            path.unlink()
