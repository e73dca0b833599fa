"""From an image in any form to what the graphs take, and back to its size.

Shapes: ``H W`` the image's size, ``h w`` that of the network's input, ``N`` classes, ``S T`` the
encoder's input.
"""

import os
from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image

from ..utils.images import decode_image, read_image
from ..utils.resizing import fitted_size

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def as_rgb(image: str | os.PathLike | bytes | np.ndarray) -> np.ndarray:
    """An image as the model was trained to see it.

    Files and their bytes are decoded as the training's loader does: turned as EXIF says, alpha left
    out, grey repeated, 16 bits cut to 8, CMYK converted. So are arrays, whose channels are R, G, B.

    Args:
        image: A path, a file's bytes, or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or
            ``(H, W, 4)`` of uint8 or uint16.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedImageError: If a file is not a whole image.
        ValueError: If an array is of another shape or type.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_image(bytes(image), "the image given as bytes")
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    known = array.ndim == 3 and array.shape[2] in (1, 3, 4) and array.size
    if not known or array.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            "expected a path, a file's bytes, or an array (H, W), (H, W, 1), (H, W, 3) or "
            f"(H, W, 4) of uint8 or uint16; got {array.shape} {array.dtype}"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]


def network_pixels(rgb: np.ndarray, spec: Mapping) -> tuple[np.ndarray, tuple[int, int]]:
    """Resize, order the channels, normalise and pad, as the config's test does.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        spec: ``preprocessing`` of ``model.json``.

    Returns:
        ``(3, h, w)`` float32, and height and width of what is not padding.
    """
    for resize in spec["resize"]:
        size = _resized(rgb.shape[:2], resize)
        if size != rgb.shape[:2]:
            rgb = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
    if spec["channel_order"] == "bgr":
        rgb = rgb[..., ::-1]
    pixels = np.ascontiguousarray(rgb.transpose(2, 0, 1)).astype(np.float32)
    pixels -= np.array(spec["mean"], np.float32)[:, None, None]
    pixels /= np.array(spec["std"], np.float32)[:, None, None]
    height, width = pixels.shape[1:]
    pad = spec["pad"]
    if pad is not None:
        if pad["size"] is not None:
            bottom, right = max(pad["size"][0] - height, 0), max(pad["size"][1] - width, 0)
        else:
            bottom, right = -height % pad["divisor"], -width % pad["divisor"]
        sides = ((0, 0), (0, bottom), (0, right))
        pixels = np.pad(pixels, sides, constant_values=np.float32(pad["value"]))
    return pixels, (height, width)


def _resized(size: tuple[int, int], resize: Mapping) -> tuple[int, int]:
    """``(h, w)`` as mmcv's ``Resize`` computes it."""
    height, width = size
    scale = resize["scale"]
    if scale is None:
        x, y = resize["factor"]
        scale = int(width * x + 0.5), int(height * y + 0.5)
    if not resize["keep_ratio"]:
        return scale[1], scale[0]
    factor = min(max(scale) / max(size), min(scale) / min(size))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def encoder_pixels(rgb: np.ndarray, spec: Mapping) -> np.ndarray:
    """CLIP's preprocessing, as open_clip does it with Pillow.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        spec: open_clip's ``preprocess_cfg``.

    Returns:
        ``(3, S, T)`` float32.
    """
    size = spec["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    fitted = fitted_size(rgb.shape[:2], size, spec["resize_mode"])
    if fitted != rgb.shape[:2]:
        kind = _FILTERS.get(spec["interpolation"], _FILTERS["bicubic"])
        rgb = np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(fitted[::-1], kind))
    pad = [max(t - s, 0) for t, s in zip(size, rgb.shape[:2], strict=True)]
    if any(pad):
        sides = [(p // 2, p - p // 2) for p in pad]
        rgb = np.pad(rgb, (*sides, (0, 0)), constant_values=np.uint8(spec["fill_color"]))
    top, left = (round((s - t) / 2) for s, t in zip(rgb.shape[:2], size, strict=True))
    pixels = rgb[top : top + size[0], left : left + size[1]].transpose(2, 0, 1)
    pixels = pixels.astype(np.float32) / np.float32(255)
    pixels -= np.array(spec["mean"], np.float32)[:, None, None]
    pixels /= np.array(spec["std"], np.float32)[:, None, None]
    return pixels


def resize_logits(logits: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """``torch.nn.functional.interpolate`` of ``(N, h, w)`` to ``(N, *size)``, bilinear."""
    if logits.shape[1:] == tuple(size):
        return logits
    if not align_corners:
        return np.stack([cv2.resize(c, size[::-1], interpolation=cv2.INTER_LINEAR) for c in logits])
    for axis, length in ((1, size[0]), (2, size[1])):
        place = np.linspace(0, logits.shape[axis] - 1, length, dtype=np.float32)
        low = np.minimum(place.astype(int), logits.shape[axis] - 1)
        high = np.minimum(low + 1, logits.shape[axis] - 1)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(3)])
        below, above = logits.take(low, axis), logits.take(high, axis)
        logits = below + (above - below) * share.astype(np.float32)
    return logits
