"""A segmentation model as a plain function, for the gate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmseg.apis import inference_model, init_model

__all__ = ["load_segmentor"]


def load_segmentor(
    config: str, checkpoint: str, num_classes: int, device: str = "cpu"
) -> Callable[[np.ndarray], np.ndarray]:
    """Load a model of MMSegmentation.

    Args:
        config: Config file.
        checkpoint: Its weights.
        num_classes: Of the labels that it shall be compared with.
        device: Where it runs.

    Returns:
        Image ``(H, W, 3)`` uint8 RGB -> class numbers ``(H, W)``.

    Raises:
        FileNotFoundError: If the checkpoint is missing: a gate with random weights judges nothing.
        ValueError: If it has another number of classes.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"the gate's segmentation model has no checkpoint {checkpoint}")
    model = init_model(config, checkpoint, device=device)
    if model.num_classes != num_classes:
        raise ValueError(
            f"the gate's segmentation model has {model.num_classes} classes, the labels "
            f"{num_classes}"
        )

    def segment(image: np.ndarray) -> np.ndarray:
        # MMSegmentation's arrays are BGR, as OpenCV reads them.
        result = inference_model(model, np.ascontiguousarray(image[..., ::-1]))
        return result.pred_sem_seg.data[0].cpu().numpy()

    return segment
