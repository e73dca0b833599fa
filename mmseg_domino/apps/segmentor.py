"""A segmentation model as a plain function, for the gate of synthetic images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..utils.hashes import file_sha256
from .inference import init_domino_model, predict_image


def checkpoint_name(path: str | Path) -> str:
    """A checkpoint's name and what is in it: ``iter_40000.pth sha256:0123456789abcdef``."""
    return f"{Path(path).name} sha256:{file_sha256(path)[:16]}"


def load_segmentor(
    config: str, checkpoint: str, num_classes: int, device: str = "cpu"
) -> Callable[[np.ndarray], np.ndarray]:
    """Load a model of MMSegmentation or of this package.

    Returns:
        Image ``(H, W, 3)`` uint8 RGB -> class numbers ``(H, W)`` uint8.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"the gate's segmentation model has no checkpoint {checkpoint}")
    model = init_domino_model(config, checkpoint, device=device)
    if model.num_classes != num_classes:
        raise ValueError(
            f"the gate's segmentation model has {model.num_classes} classes, the labels "
            f"{num_classes}"
        )
    return lambda image: predict_image(model, image).labels
