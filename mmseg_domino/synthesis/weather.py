"""The classical generator: fog, night, rain and snow on the real image, from depth and label."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from . import classical
from .generators import GENERATORS, Generated, Request

__all__ = ["ClassicalWeather", "DepthFiles"]

_GROUND = {"road", "sidewalk", "pavement"}
#: Share of lying snow that surfaces take; the rest stays bare.
_SNOW_COVER = {
    "road": 0.55,
    "sidewalk": 0.95,
    "pavement": 0.95,
    "terrain": 1.0,
    "vegetation": 0.45,
    "tree": 0.45,
    "car": 0.25,
    "truck": 0.2,
    "bus": 0.2,
    "wall": 0.2,
    "building": 0.08,
}


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
        camera_root: For ``'disparity'``: folder of Cityscapes' ``*_camera.json``, which hold
            baseline and focal length; ``None`` for the numbers below.
        baseline: Metres.
        focal: Pixels at the disparity's size.
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
        focal: float = 2262.52,
    ) -> None:
        if kind not in ("disparity", "depth"):
            raise ValueError(f"kind must be 'disparity' or 'depth', got {kind!r}")
        self.root, self.suffix, self.kind = root, suffix, kind
        self.image_suffix, self.scale = image_suffix, scale
        self.camera_root, self.baseline, self.focal = camera_root, baseline, focal

    def describe(self) -> dict:
        """What the metres depend on, without the folders of this machine."""
        if self.kind == "depth":
            return {"kind": self.kind, "scale": self.scale}
        camera = {"baseline": self.baseline, "focal": self.focal}
        return {"kind": self.kind, **(camera if self.camera_root is None else {"cameras": True})}

    def read(self, name: str) -> np.ndarray:
        """Depth in metres, (H, W) float32, NaN where unknown.

        Raises:
            FileNotFoundError: If there is none for this image; says where it was looked for.
        """
        stem = name.removesuffix(self.image_suffix)
        path = Path(self.root) / f"{stem}{self.suffix}"
        if not path.is_file():
            raise FileNotFoundError(f"fog needs depth, and {path} is missing")
        if path.suffix == ".npy":
            return np.load(path).astype(np.float32)
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stored is None:
            raise FileNotFoundError(f"fog needs depth, and {path} cannot be read")
        if self.kind == "depth":
            return np.where(stored > 0, stored * np.float32(self.scale), np.nan)
        return classical.disparity_to_depth(stored, *self._camera(stem))

    def _camera(self, stem: str) -> tuple[float, float]:
        if self.camera_root is None:
            return self.baseline, self.focal
        camera = json.loads((Path(self.camera_root) / f"{stem}_camera.json").read_text())
        return camera["extrinsic"]["baseline"], camera["intrinsic"]["fx"]


@GENERATORS.register_module()
class ClassicalWeather:
    """Puts weather on the real image with no model at all; deterministic by the request's seed.

    Args:
        depth: Arguments of :class:`DepthFiles`; only fog needs it.
        visibility: Range in metres that fog's meteorological visibility is drawn from, evenly on
            a logarithmic scale. 75 to 300 m is beta 0.04 to 0.01.
        strength: Range that the strength of rain and snow is drawn from.
        exposure: Range of the share of daylight that night leaves.
    """

    DOMAINS = ("fog", "night", "rain", "snow")

    def __init__(
        self,
        depth: dict | None = None,
        visibility: tuple[float, float] = (75.0, 300.0),
        strength: tuple[float, float] = (0.3, 0.9),
        exposure: tuple[float, float] = (0.02, 0.07),
    ) -> None:
        self.depth = None if depth is None else DepthFiles(**depth)
        self.visibility, self.strength, self.exposure = visibility, strength, exposure

    def check_domains(self, domains: Sequence[str]) -> None:
        unknown = [domain for domain in domains if domain not in self.DOMAINS]
        if unknown:
            raise ValueError(
                f"ClassicalWeather makes {', '.join(self.DOMAINS)}, not {', '.join(unknown)}"
            )
        if "fog" in domains and self.depth is None:
            raise ValueError(
                "fog needs depth: give depth=dict(root='data/cityscapes/disparity/train'), where "
                "Cityscapes' disparity_trainvaltest.zip was unpacked, or leave fog out"
            )

    def describe(self) -> dict:
        return {
            "type": "ClassicalWeather",
            "version": 1,
            "visibility": list(self.visibility),
            "strength": list(self.strength),
            "exposure": list(self.exposure),
            "depth": None if self.depth is None else self.depth.describe(),
        }

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Generated:
        rng = np.random.default_rng(request.seed)
        light = classical.to_linear(request.image)
        sky = _share(request, {"sky": 1.0}) > 0
        if request.domain == "fog":
            try:
                depth = self._depth(request, sky)
            except (FileNotFoundError, ValueError) as error:
                return Generated(None, str(error))
            low, high = np.log(self.visibility)
            light = classical.fog(light, depth, float(np.exp(rng.uniform(low, high))))
        elif request.domain == "night":
            light = classical.night(light, sky, rng, float(rng.uniform(*self.exposure)))
        else:
            strength = float(rng.uniform(*self.strength))
            if request.domain == "rain":
                ground = _share(request, dict.fromkeys(_GROUND, 1.0)) > 0
                light = classical.rain(light, sky, ground, rng, strength)
            else:
                cover = _share(request, _SNOW_COVER)
                light = classical.snow(light, sky, cover, rng, strength)
        return Generated(classical.from_linear(light))

    def _depth(self, request: Request, sky: np.ndarray) -> np.ndarray:
        depth = self.depth.read(request.name)
        if depth.shape != sky.shape:
            size = (sky.shape[1], sky.shape[0])
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
        return classical.fill_depth(depth, request.image, sky)


def _share(request: Request, shares: dict[str, float]) -> np.ndarray:
    """(H, W) float32: a number for each pixel's class, 0 for classes not named."""
    table = np.zeros(256, np.float32)
    table[: len(request.classes)] = [shares.get(name, 0.0) for name in request.classes]
    return table[request.label]
