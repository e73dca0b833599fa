"""How far away what is seen is: from disparity files, depth files, or a plane through the road.

Shapes: ``H W`` image.
"""

from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import cv2
import numpy as np

from ..utils import printable
from ..utils.text import parse_json
from .light import soften

#: Metres of the sky, and at most.
FAR = 2000.0
#: Metres of a car's camera above the road.
CAMERA_HEIGHT = 1.3
#: Beyond so many metres a disparity is noise: Cityscapes' d is then below 1.2 pixels.
_FARTHEST = 400.0
#: Where the labels' road ends, in metres.
_ROAD_END = 80.0


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera.

    Attributes:
        focal: Focal length in pixels.
        centre: Column of the optical axis.
        horizon: Row of the horizon.
    """

    focal: float
    centre: float
    horizon: float

    @classmethod
    def of_size(cls, height: int, width: int) -> "Camera":
        """A usual car camera (Cityscapes': 49 degrees across)."""
        return cls(1.1 * width, width / 2, 0.45 * height)

    def scaled(self, factor: float) -> "Camera":
        """The same for an image ``factor`` times as large."""
        return Camera(self.focal * factor, self.centre * factor, self.horizon * factor)

    def rays(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each column ``(W,)`` its offset to the right, and of each row ``(H,)`` its offset
        downwards, at unit depth."""
        x = (np.arange(width, dtype=np.float32) + 0.5 - self.centre) / self.focal
        y = (np.arange(height, dtype=np.float32) + 0.5 - self.horizon) / self.focal
        return x, y


def disparity_to_depth(
    disparity: np.ndarray, baseline: float, focal: float, farthest: float = _FARTHEST
) -> np.ndarray:
    """Depth in metres from Cityscapes' disparity files.

    Cityscapes stores p = 256 d + 1 for a disparity of d pixels, and 0 where there is none: on the
    own bonnet and along the left border, where the other camera sees nothing. Depth is baseline *
    focal / d.

    Args:
        disparity: ``(H, W)`` uint16.
        baseline: Distance of the cameras in metres (0.209313 in most Cityscapes sequences).
        focal: Focal length in pixels (2262.52).
        farthest: Metres beyond which a disparity is too small to say anything.

    Returns:
        ``(H, W)`` float32; NaN where unknown.
    """
    if disparity.dtype != np.uint16 or disparity.ndim != 2:
        raise ValueError(
            "expected Cityscapes' disparity, (H, W) uint16 PNG, got "
            f"{disparity.shape} {disparity.dtype}"
        )
    pixels = (disparity.astype(np.float32) - 1) / 256
    known = pixels * farthest > baseline * focal
    depth = np.full(disparity.shape, np.nan, np.float32)
    depth[known] = np.float32(baseline * focal) / pixels[known]
    return depth


def fill_depth(depth: np.ndarray, image: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Complete a depth map: sky is far, holes take the nearest known value, smoothed.

    Args:
        depth: ``(H, W)`` metres, NaN or not positive where unknown.
        image: ``(H, W, 3)`` uint8, whose edges the filled holes follow (guided filter).
        sky: ``(H, W)`` bool.

    Raises:
        ValueError: If nothing is known.
    """
    known = np.isfinite(depth) & (depth > 0) & ~sky
    if not known.any():
        raise ValueError("the depth map has no known value")
    filled = np.minimum(depth.ravel()[_nearest(known)], np.float32(FAR))
    if not (known | sky).all():
        # 1 / depth is linear along a plane; and far noise does not bleed into what is near.
        guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        smooth = _guided_filter(guide, 1 / filled, max(2, image.shape[0] // 128), 1e-3)
        filled = np.where(known, filled, 1 / np.clip(smooth, 1 / FAR, None))
    return np.where(sky, np.float32(FAR), filled).astype(np.float32)


def _nearest(known: np.ndarray) -> np.ndarray:
    """Flat index of each pixel's nearest known one; its own if known."""
    # The label of each pixel is that of the nearest zero, i.e. known, pixel.
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros(nearest.max() + 1, np.int64)
    places[nearest[known]] = np.flatnonzero(known)
    return places[nearest]


def _guided_filter(guide: np.ndarray, value: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He et al., Guided Image Filtering, ECCV 2010, with a grey guide."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_v = cv2.blur(guide, size), cv2.blur(value, size)
    slope = (cv2.blur(guide * value, size) - mean_g * mean_v) / (
        cv2.blur(guide * guide, size) - mean_g * mean_g + eps
    )
    offset = mean_v - slope * mean_g
    return cv2.blur(slope, size) * guide + cv2.blur(offset, size)


def along_ray(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Distance from the camera, metres, of what lies at a depth along its axis."""
    x, y = camera.rays(*depth.shape)
    return depth * np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)


def plane_depth(
    ground: np.ndarray, sky: np.ndarray, things: np.ndarray, camera: Camera
) -> tuple[np.ndarray, Camera]:
    """A guess at depth from labels alone: the road is a plane, and all else stands on it.

    The plane is fitted to the labels' ground: its upper end is taken to be 80 m away. What stands
    has the depth of the ground below it; of what stands behind a car or a person (houses, trees)
    that is unknown and taken from beside it; likewise behind a pole or a sign.

    Args:
        ground: ``(H, W)`` bool: road, pavement, terrain.
        sky: ``(H, W)`` bool.
        things: ``(H, W)`` bool: vehicles, people, poles, signs: what hides the foot of others.
        camera: Its horizon is replaced.

    Returns:
        ``(H, W)`` float32 metres, the sky at ``FAR``, and the camera with the horizon found.
    """
    height, width = ground.shape
    step = camera.focal * CAMERA_HEIGHT
    rows = np.flatnonzero(ground.mean(axis=1) > 0.01)
    end = rows[0] if len(rows) else camera.horizon + step / _ROAD_END
    camera = replace(camera, horizon=float(end - step / _ROAD_END))
    below = np.arange(height, dtype=np.float32) + 0.5 - camera.horizon
    plane = np.clip(step / np.maximum(below, step / FAR), 1.0, _ROAD_END)
    # Row of the ground below each pixel: upwards, the last one that was met.
    index = np.where(ground, np.arange(height)[:, None], height)
    foot = np.minimum.accumulate(index[::-1], axis=0)[::-1]
    depth = plane[np.minimum(foot, height - 1)]
    hidden = np.minimum.accumulate(np.where(things, np.arange(height)[:, None], height)[::-1])[::-1]
    unknown = ~ground & ~things & ~sky & (hidden < foot)
    known = ~unknown & ~things & ~sky & ~ground
    if unknown.any() and known.any():
        # Beside it something stands across the view, as deep, or along it, as far to the side.
        aside = np.abs(np.arange(width, dtype=np.float32) + 0.5 - camera.centre)
        nearest = _nearest(known)
        along = (depth * aside).ravel()[nearest] / np.maximum(aside, 0.5)
        beside = np.minimum(depth.ravel()[nearest], along)
        depth = np.where(unknown, np.maximum(depth, beside), depth)
    standing = 1 / depth.astype(np.float32)
    # Where a road ends far away, a pixel of its edge is metres of what stands there.
    rest = (~ground & ~things & ~sky).astype(np.float32)
    size = (max(3, width // 40) | 1, 1)
    even = cv2.blur(standing * rest, size) / np.maximum(cv2.blur(rest, size), 1e-3)
    standing = soften(np.where(rest > 0, even, standing), max(0.5, width / 300))
    depth = np.where(ground, plane[:, None], 1 / standing)
    return np.where(sky, np.float32(FAR), depth).astype(np.float32), camera


class DepthFiles:
    """Finds the depth of a source image.

    Args:
        root: Folder of depth files, laid out as the images are.
        suffix: Ending of their names, in place of what ``image_suffix`` takes off.
        kind: ``'disparity'``: Cityscapes' 16-bit disparity PNG; ``'depth'``: 16-bit PNG of depth,
            or ``.npy`` of metres.
        image_suffix: Further ending of image names, as ``'_leftImg8bit'`` where the data set class
            has not taken it off.
        scale: Metres a unit of a 16-bit ``'depth'`` PNG.
        camera_root: Folder of Cityscapes' ``*_camera.json``, which hold baseline, focal length and
            centre; ``None`` for the numbers below.
        baseline: Metres.
        focal: Pixels at the file's size; ``None`` for Cityscapes' 2262.52 with ``'disparity'``, and
            for a usual car camera's with ``'depth'``.
    """

    def __init__(
        self,
        root: str,
        suffix: str = "_disparity.png",
        kind: str = "disparity",
        image_suffix: str = "",
        scale: float = 0.01,
        camera_root: str | None = None,
        baseline: float = 0.209313,
        focal: float | None = None,
    ) -> None:
        if kind not in ("disparity", "depth"):
            raise ValueError(f"kind must be 'disparity' or 'depth', got {kind!r}")
        self.root, self.suffix, self.kind = root, suffix, kind
        self.image_suffix, self.scale = image_suffix, scale
        self.camera_root, self.baseline = camera_root, baseline
        self.focal = 2262.52 if focal is None and kind == "disparity" else focal

    def describe(self) -> dict:
        """What the metres depend on, without the folders of this machine."""
        camera = {"baseline": self.baseline, "focal": self.focal}
        if self.camera_root is not None:
            camera = {"cameras": True}
        scale = {"scale": self.scale} if self.kind == "depth" else {}
        return {"kind": self.kind, **scale, **camera}

    def find(self, image_path: str) -> str:
        """The name of an image's depth, found by the end of the image's path.

        Raises:
            FileNotFoundError: If there is none.
        """
        path = PurePath(image_path)
        parts = (*path.parts[:-1], path.stem)
        for first in range(max(0, len(parts) - 4), len(parts)):
            name = "/".join(parts[first:])
            if (Path(self.root) / f"{name.removesuffix(self.image_suffix)}{self.suffix}").is_file():
                return name
        raise FileNotFoundError(
            f"there is no depth of {printable(image_path)} below {self.root}: looked for its name "
            f"without {self.image_suffix!r} and with {self.suffix!r}, in folders of the same name"
        )

    def read(self, name: str) -> tuple[np.ndarray, Camera]:
        """Depth in metres, ``(H, W)`` float32, NaN where unknown; and the camera, at that size.

        Raises:
            FileNotFoundError: If there is none for this image; says where it was looked for.
            ValueError: If a file is damaged; names it.
        """
        stem = name.removesuffix(self.image_suffix)
        path = Path(self.root) / f"{stem}{self.suffix}"
        if not path.is_file():
            raise FileNotFoundError(f"weather by depth: {printable(path)} is missing")
        if path.suffix == ".npy":
            try:
                stored = np.load(path, allow_pickle=False).astype(np.float32)
            except (AttributeError, EOFError, OSError, TypeError, ValueError):  # or an .npz
                stored = None
        else:
            content = np.frombuffer(path.read_bytes(), np.uint8)
            stored = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
        if stored is None or stored.ndim != 2:
            raise ValueError(f"weather by depth: {printable(path)} is no depth file, or is damaged")
        camera, baseline = self._camera(stem, stored.shape)
        if self.kind == "disparity":
            return disparity_to_depth(stored, baseline, camera.focal), camera
        if stored.dtype.kind == "u":
            stored = np.where(stored > 0, stored * np.float32(self.scale), np.nan)
        return stored.astype(np.float32), camera

    def _camera(self, stem: str, shape: tuple[int, int]) -> tuple[Camera, float]:
        usual = Camera.of_size(*shape)
        if self.camera_root is None:
            return replace(usual, focal=self.focal or usual.focal), self.baseline
        path = Path(self.camera_root) / f"{stem}_camera.json"
        try:
            given = parse_json(path.read_bytes())
            inner = given["intrinsic"]
            camera = Camera(
                float(inner["fx"]),
                float(inner.get("u0", usual.centre)),
                float(inner.get("v0", usual.horizon)),
            )
            return camera, float(given["extrinsic"]["baseline"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{printable(path)} is no camera of Cityscapes: {error!r}") from error
