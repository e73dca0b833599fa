"""Small data set trees of random images for the tests."""

from pathlib import Path

import numpy as np
from PIL import Image

CITYSCAPES_CLASSES = 19


def write_pair(
    image: Path, label: Path | None = None, size=(24, 32), seed: int = 0, classes=range(19)
) -> None:
    """An image of noise and a label with every class and some ignored pixels."""
    rng = np.random.default_rng(seed)
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
    if label is not None:
        label.parent.mkdir(parents=True, exist_ok=True)
        values = rng.choice([*classes, 255], size).astype(np.uint8)
        Image.fromarray(values).save(label)


def write_cityscapes(root: Path, split: str = "val", images: int = 2, size=(24, 32)) -> Path:
    for i in range(images):
        stem = f"frankfurt_000000_{i:06}"
        write_pair(
            root / "leftImg8bit" / split / "frankfurt" / f"{stem}_leftImg8bit.png",
            root / "gtFine" / split / "frankfurt" / f"{stem}_gtFine_labelTrainIds.png",
            size,
            seed=i,
        )
    return root


def write_acdc(
    root: Path, conditions=("fog", "night", "rain", "snow"), split="val", images=2, reference=False
) -> Path:
    for c, condition in enumerate(conditions):
        for i in range(images):
            stem = f"{condition}/{split}/GOPR0{c}/GOPR0{c}_frame_{i:06}"
            label = root / "gt" / f"{stem}_gt_labelTrainIds.png" if split != "test" else None
            write_pair(root / "rgb_anon" / f"{stem}_rgb_anon.png", label, seed=10 * c + i)
            if reference:
                stem = f"{condition}/{split}_ref/GOPR0{c}/GOPR0{c}_frame_{i:06}"
                # As in the release, a part of the reference images has labels.
                label = root / "gt" / f"{stem}_gt_ref_labelTrainIds.png" if i == 0 else None
                write_pair(root / "rgb_anon" / f"{stem}_rgb_ref_anon.png", label, seed=10 * c + i)
    return root
