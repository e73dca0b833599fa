"""A labelled image as the rules of weather see it: what stands where, and how far away.

Shapes: ``H W`` image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from .depth import CAMERA_HEIGHT, Camera, along_ray, fill_depth, plane_depth
from .light import luminance, to_linear

#: Names of classes, of all the data sets known here, by what they are to the weather.
GROUND = (
    "road", "sidewalk", "pavement", "terrain", "parking", "bike lane", "crosswalk - plain", "curb",
    "lane marking - general", "lane marking - crosswalk", "service lane", "pedestrian area",
)  # fmt: skip
ROAD = tuple(n for n in GROUND if n not in ("terrain",))
VEHICLES = (
    "car", "truck", "bus", "train", "motorcycle", "bicycle", "caravan", "trailer", "bicyclist",
    "on rails", "other vehicle",
)  # fmt: skip
THINGS = (*VEHICLES, "person", "rider", "pedestrian", "motorcyclist", "other rider")
#: What hides the foot of what stands behind it.
HIDING = (
    *THINGS, "pole", "utility pole", "traffic light", "traffic sign", "traffic sign (front)",
    "sign",
)  # fmt: skip
BUILT = ("building", "wall", "fence", "bridge", "tunnel")


def share(label: np.ndarray, classes: Sequence[str], shares: Mapping[str, float]) -> np.ndarray:
    """(H, W) float32: a number for each pixel's class, 0 for classes not named."""
    table = np.zeros(256, np.float32)
    table[: len(classes)] = [shares.get(name.lower(), 0.0) for name in classes]
    return cv2.LUT(np.ascontiguousarray(label), table)


def _of(label: np.ndarray, classes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    return share(label, classes, dict.fromkeys(names, 1.0)) > 0


@dataclass(frozen=True)
class View:
    """How far away everything in an image is, at a size of its own.

    Attributes:
        distance: ``(h, w)`` float32 metres along the ray, complete; the sky at ``FAR``.
        camera: At that size.
        measured: From a depth file; ``False`` for the plane through the labels' road.
    """

    distance: np.ndarray
    camera: Camera
    measured: bool


def describe_view(
    image: np.ndarray,
    label: np.ndarray,
    classes: Sequence[str],
    depth: tuple[np.ndarray, Camera] | None = None,
    reduce: int = 1,
) -> View:
    """The view of a whole image.

    Args:
        image: ``(H, W, 3)`` uint8.
        label: ``(H, W)`` class numbers; others are unlabelled.
        classes: Class names.
        depth: ``(h, w)`` metres of any size, NaN where unknown, and its camera; ``None`` for the
            plane that the labels' road lies in, see :func:`plane_depth`.
        reduce: Make the view so many times smaller than the image, which is as much faster.

    Raises:
        ValueError: If the depth map holds no known value.
    """
    height, width = label.shape[0] // reduce, label.shape[1] // reduce
    size = (width, height)
    label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    sky, ground = _of(label, classes, ("sky",)), _of(label, classes, GROUND)
    if depth is None:
        things = _of(label, classes, HIDING)
        metres, camera = plane_depth(ground, sky, things, Camera.of_size(height, width))
        return View(along_ray(metres, camera), camera, False)
    metres, camera = depth
    camera = camera.scaled(width / metres.shape[1])
    metres = cv2.resize(metres, size, interpolation=cv2.INTER_NEAREST)
    camera = _level(metres, _of(label, classes, ROAD), camera)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return View(along_ray(fill_depth(metres, image, sky), camera), camera, True)


def _level(depth: np.ndarray, road: np.ndarray, camera: Camera) -> Camera:
    """The camera with the horizon that the road's depth tells: its 1 / depth is 0 there."""
    known = road & np.isfinite(depth)
    if known.mean() < 0.02:
        return camera
    rows, near = np.nonzero(known)[0].astype(np.float32), 1 / depth[known]
    if np.ptp(near) < 0.02:
        return camera
    slope, horizon = np.polyfit(near, rows + 0.5, 1)
    sensible = 0 < horizon < len(depth) and slope > 0
    return Camera(camera.focal, camera.centre, float(horizon)) if sensible else camera


@dataclass(frozen=True)
class Scene:
    """An image, or a crop of one, with its label and its geometry.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        label: ``(H, W)`` class numbers.
        classes: Class names.
        distance: ``(H, W)`` float32 metres along the ray.
        right: ``(W,)`` offset to the right of each column's ray, at unit depth.
        down: ``(H,)`` offset below the horizon of each row's ray, at unit depth.
        measured: Whether the distance comes from a depth file.
    """

    image: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    distance: np.ndarray
    right: np.ndarray
    down: np.ndarray
    measured: bool = True

    @classmethod
    def of_image(
        cls, image: np.ndarray, label: np.ndarray, classes: Sequence[str], view: View
    ) -> "Scene":
        """The scene of a whole image."""
        height, width = label.shape
        columns = (np.arange(width) + 0.5) / width
        rows = (np.arange(height) + 0.5) / height
        return cls.of_crop(image, label, classes, view, columns, rows)

    @classmethod
    def of_crop(
        cls,
        image: np.ndarray,
        label: np.ndarray,
        classes: Sequence[str],
        view: View,
        columns: np.ndarray,
        rows: np.ndarray,
    ) -> "Scene":
        """The scene of a crop.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            label: ``(H, W)``.
            classes: Class names.
            view: Of the whole image.
            columns: ``(W,)`` place of each column in the whole image, 0 to 1.
            rows: ``(H,)`` likewise.
        """
        height, width = view.distance.shape
        right = (columns * width - view.camera.centre) / view.camera.focal
        down = (rows * height - view.camera.horizon) / view.camera.focal
        x, y = (columns * width - 0.5), (rows * height - 0.5)
        grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        distance = cv2.remap(view.distance, *grid, cv2.INTER_NEAREST, None, cv2.BORDER_REPLICATE)
        rays = (right.astype(np.float32), down.astype(np.float32))
        return cls(image, label, tuple(classes), distance, *rays, view.measured)

    def share(self, shares: Mapping[str, float]) -> np.ndarray:
        """``(H, W)`` float32: a number by class."""
        return share(self.label, self.classes, shares)

    def of(self, names: Sequence[str]) -> np.ndarray:
        """``(H, W)`` bool: pixels of some classes."""
        return _of(self.label, self.classes, names)

    @property
    def height(self) -> int:
        return self.label.shape[0]

    @property
    def focal(self) -> float:
        """Pixels, of this crop."""
        steps = abs(float(self.right[-1] - self.right[0])) / max(1, len(self.right) - 1)
        return 1 / max(steps, 1e-6)

    @cached_property
    def sky(self) -> np.ndarray:
        """``(H, W)`` float32: 1 in the sky, also between branches, with soft edges."""
        seen = self.of(("sky",))
        # A camera's edges are not sharp; and the light of the sky spills over them.
        sky = cv2.dilate(seen.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
        if seen.any():  # labels draw trees as if nothing were seen through them
            bright = luminance(to_linear(self.image))
            through = 5 * bright / max(float(np.median(bright[seen])), 0.2) - np.float32(3.5)
            sky = np.where(self.of(("vegetation", "tree")), np.clip(through, sky, 1), sky)
        return cv2.GaussianBlur(sky, (0, 0), max(0.8, self.height / 700))

    @cached_property
    def ground(self) -> np.ndarray:
        """``(H, W)`` float32: 1 on the ground, with soft edges."""
        return cv2.GaussianBlur(self.of(GROUND).astype(np.float32), (0, 0), self.height / 700)

    @cached_property
    def depth(self) -> np.ndarray:
        """``(H, W)`` metres along the camera's axis."""
        return self.distance / np.sqrt(1 + self.right[None] ** 2 + self.down[:, None] ** 2)

    @cached_property
    def grazing(self) -> np.ndarray:
        """``(H, W)``: cosine between the ray and a level surface's normal, on the ground."""
        return np.clip(CAMERA_HEIGHT / np.maximum(self.distance, 1e-3), 0, 1)

    @cached_property
    def upward(self) -> np.ndarray:
        """``(H, W)`` float32: how far surfaces face up, 0 to 1, told by how depth changes down a
        column. 1 on the ground; elsewhere known only where the distance is measured."""
        up = self.ground.copy()
        if not self.measured:
            return up
        sigma = max(1.0, self.height / 200)
        depth = cv2.GaussianBlur(self.depth, (0, 0), sigma)
        step = np.gradient(depth, axis=0)
        drop = np.gradient(depth * self.down[:, None], axis=0)
        slope = np.abs(step) / np.maximum(np.hypot(step, drop), 1e-6)
        # At the edge of an object depth jumps; that is no surface.
        size = 2 * int(2 * sigma) + 3
        window = np.ones((size, size), np.uint8)
        near = cv2.erode(self.depth, window)
        jump = (cv2.dilate(self.depth, window) > 1.25 * near) | (self.distance > 100)
        facing = np.clip(2 * slope - 1, 0, 1) * ~jump
        return np.maximum(up, facing).astype(np.float32)

    def on_ground(self, metres: float, rng: np.random.Generator) -> np.ndarray:
        """``(H, W)`` float32 in [0, 1]: patches of about so many metres that lie on the ground."""
        size = 128
        noise = rng.random((size, size), np.float32)
        noise = cv2.copyMakeBorder(noise, 8, 8, 8, 8, cv2.BORDER_WRAP)
        noise = cv2.GaussianBlur(noise, (0, 0), 2.0)[8:-8, 8:-8]
        noise = np.clip(0.5 + (noise - noise.mean()) / (4 * noise.std()), 0, 1)
        # Half as large shows no difference.
        depth, cell = self.depth[::2, ::2], np.float32(metres / 4)
        x = np.mod(depth * self.right[None, ::2] / cell, np.float32(size))
        y = np.mod(depth / cell, np.float32(size))
        sampled = cv2.remap(noise, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
        # Where a pixel sees more than a patch, it sees their mean.
        footprint = depth**2 / np.float32(self.focal * CAMERA_HEIGHT)
        seen = np.clip(1.5 - footprint / np.float32(metres), 0, 1)
        patches = 0.5 + (sampled - 0.5) * seen
        return cv2.resize(patches, self.label.shape[::-1], interpolation=cv2.INTER_LINEAR)
