"""CLIP's image preprocessing on tensors.

The encoder's own preprocessing (open_clip's, with Pillow) is what stores are made with. This is the
same arithmetic on tensors of any device, for images that are already there.

Shapes: ``H W`` the image's size, ``S T`` the encoder's input size.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..utils.resizing import fitted_size


def preprocess_tensor(image: Tensor, spec: Mapping) -> Tensor:
    """Resize, crop and normalise one image as open_clip does, without leaving its device.

    Pillow resizes in two passes, first along the rows, and rounds to 8 bits after each; so does
    this. Pillow's filter weights are fixed-point numbers, so pixels can still differ by one step of
    255; on street photographs one value in 8,600 does.

    Args:
        image: RGB ``(3, H, W)``, any dtype, values 0 to 255.
        spec: ``size``, ``mean``, ``std``, ``interpolation``, ``resize_mode`` and ``fill_color`` as
            in open_clip's ``preprocess_cfg``.

    Returns:
        ``(3, S, T)`` float32, normalised.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"expected an RGB image of shape (3, H, W), got {tuple(image.shape)}")
    size = spec["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    resized = fitted_size(tuple(image.shape[1:]), size, spec["resize_mode"])
    mode = "bilinear" if spec["interpolation"] == "bilinear" else "bicubic"
    pixels = image.float()[None]
    for shape in ((image.shape[1], resized[1]), resized):
        if shape != tuple(pixels.shape[2:]):
            pixels = F.interpolate(pixels, shape, mode=mode, antialias=True, align_corners=False)
            # Pillow rounds halves up; torch.round would take them to the even number.
            pixels = (pixels + 0.5).floor().clamp(0, 255)
    pixels = _centre(pixels, size, float(spec["fill_color"]))[0] / 255
    mean = torch.tensor(spec["mean"], device=image.device).view(3, 1, 1)
    std = torch.tensor(spec["std"], device=image.device).view(3, 1, 1)
    return (pixels - mean) / std


def _centre(pixels: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Pad around or crop the middle of ``(1, 3, H, W)`` to ``size``."""
    h, w = pixels.shape[2:]
    pad_h, pad_w = max(size[0] - h, 0), max(size[1] - w, 0)
    if pad_h or pad_w:
        sides = (pad_w // 2, pad_w - pad_w // 2, pad_h // 2, pad_h - pad_h // 2)
        pixels = F.pad(pixels, sides, value=fill)
        h, w = pixels.shape[2:]
    top, left = round((h - size[0]) / 2), round((w - size[1]) / 2)
    return pixels[:, :, top : top + size[0], left : left + size[1]]
