"""Between the numbers in image files and light.

Shapes: ``H W`` image.
"""

import cv2
import numpy as np

_LEVELS = 1 << 16


def _decode(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encode(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


_TO_LINEAR = _decode(np.arange(256) / 255).astype(np.float32)
_FROM_LINEAR = (_encode(np.arange(_LEVELS) / (_LEVELS - 1)) * 255 + 0.5).astype(np.uint8)


def to_linear(image: np.ndarray) -> np.ndarray:
    """sRGB uint8 to linear RGB float32 in [0, 1] (IEC 61966-2-1)."""
    return cv2.LUT(image, _TO_LINEAR)


def from_linear(light: np.ndarray) -> np.ndarray:
    """Linear RGB to sRGB uint8; the inverse of :func:`to_linear`. Values are cut to [0, 1]."""
    scaled = np.clip(light, 0, 1) * np.float32(_LEVELS - 1) + np.float32(0.5)
    return _FROM_LINEAR.take(scaled.astype(np.uint16))


def luminance(light: np.ndarray) -> np.ndarray:
    """Luminance ``(H, W)`` of linear RGB ``(H, W, 3)``."""
    return cv2.transform(light, np.float32([[0.2126, 0.7152, 0.0722]]))


def soften(value: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur; wide ones are made at reduced size, which they do not show."""
    reduce = 1
    while sigma / reduce > 4 and min(value.shape[:2]) / reduce > 8:
        reduce *= 2
    if reduce == 1:
        return cv2.GaussianBlur(value, (0, 0), max(sigma, 0.1))
    height, width = value.shape[:2]
    small = (max(1, width // reduce), max(1, height // reduce))
    blurred = cv2.GaussianBlur(
        cv2.resize(value, small, interpolation=cv2.INTER_AREA), (0, 0), sigma / reduce
    )
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
