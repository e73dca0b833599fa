"""Operations on whole images that NumPy's broadcasting makes slow, by way of OpenCV.

NumPy multiplies (H, W, 1) by (3,) in inner loops of three elements, ten times slower than three
planes. Everything here gives what the plain expression in its docstring gives, but for rounding.

Shapes: ``H W`` image, ``F`` entries of a table.
"""

import cv2
import numpy as np


def threefold(plane: np.ndarray) -> np.ndarray:
    """``np.repeat(plane[..., None], 3, -1)`` of a plane (H, W)."""
    return cv2.merge((plane, plane, plane))


def spread(plane: np.ndarray, colour: np.ndarray | tuple) -> np.ndarray:
    """``plane[..., None] * colour``: (H, W) float32 and three numbers to (H, W, 3)."""
    red, green, blue = (np.float32(part) for part in colour)
    return cv2.merge((plane * red, plane * green, plane * blue))


def row_of(colour: np.ndarray | tuple, width: int) -> np.ndarray:
    """A colour ``width`` times over, (1, W, 3) float32: broadcasts along rows without a loss."""
    return np.tile(np.float32(colour), width).reshape(1, width, 3)


def look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``table[index]`` of a table (F,) or (F, C) and whole-number indices (H, W)."""
    return table.take(index, axis=0)


def sample(texture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """``texture[rows % size, columns % size]`` of a square texture; ``size`` a power of two."""
    size = texture.shape[0]
    index = (rows.astype(np.int32) & (size - 1)) * size
    index += columns.astype(np.int32) & (size - 1)
    return texture.ravel().take(index)


def fraction(value: np.ndarray, period: float) -> np.ndarray:
    """``value % period`` of float32 values; NumPy's own remainder takes ten times longer."""
    period = np.float32(period)
    return value - np.floor(value * np.float32(1 / period)) * period
