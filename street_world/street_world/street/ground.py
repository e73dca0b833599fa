"""Outlines on the ground, drawn into masks of the image's size: shadows and dark patches.

Shapes: ``N`` outlines of ``V`` corners (x, z) in metres.
"""

import cv2
import numpy as np

from street_world.street.raster import Camera, clip_near

_NEAR, _FAR = 0.6, 150.0  # metres
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions
_LIMIT = 8000.0  # pixels; OpenCV's fixed-point corners must not overflow


def fill_hulls(mask: np.ndarray, camera: Camera, outlines: np.ndarray, value: int) -> None:
    """Fill the convex hull of each outline.

    Args:
        mask: (H, W) uint8, drawn into.
        outlines: (N, V, 2) corners in any order, at least three.
        value: What the pixels inside get.
    """
    low, high = outlines[..., 1].min(1), outlines[..., 1].max(1)
    reached = (high >= _NEAR) & (low <= _FAR)
    for outline in outlines[reached & (low < _NEAR)]:
        hull = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)
        corners = clip_near(_lifted(hull))
        if len(corners) >= 3:
            _fill(mask, _fixed(camera, corners), value)
    corners = _fixed(camera, _lifted(outlines[reached & (low >= _NEAR)]))
    if not len(corners):
        return
    first, last = corners.min(1), corners.max(1)
    size = np.array((mask.shape[1], mask.shape[0])) << _SHIFT
    for index in np.flatnonzero(((last > 0) & (first < size)).all(1)).tolist():
        # The perspective image of a hull in front of us is the hull of the images.
        _fill(mask, cv2.convexHull(corners[index]), value)


def fill_lines(mask: np.ndarray, camera: Camera, outlines: list[np.ndarray], value: int) -> None:
    """Draw straight outlines of two corners each, one pixel wide."""
    for outline in outlines:
        low, high = float(outline[:, 1].min()), float(outline[:, 1].max())
        if high < _NEAR or low > _FAR:
            continue
        points = _lifted(outline)
        if low < _NEAR:  # the cut line, gone to and fro
            points = clip_near(points)
            if len(points) >= 3:
                _fill(mask, _fixed(camera, points), value)
            continue
        pixels = np.clip(camera.project(points), -_LIMIT, _LIMIT) - 0.5
        cv2.line(mask, *(tuple(int(v) for v in pixel) for pixel in pixels), value, 1)


def _lifted(outlines: np.ndarray) -> np.ndarray:
    """(..., 2) positions on the ground as points (..., 3)."""
    x, z = outlines[..., 0], outlines[..., 1]
    return np.stack((x, np.zeros_like(x), z), -1)


def _fixed(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Pixel positions in OpenCV's fixed-point numbers; its pixel centres are whole."""
    pixels = np.clip(camera.project(points), -_LIMIT, _LIMIT) - 0.5
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def _fill(mask: np.ndarray, corners: np.ndarray, value: int) -> None:
    cv2.fillConvexPoly(mask, corners, value, cv2.LINE_AA, _SHIFT)
