"""Fog, rain and snow on a photograph, from its depth and label. Night is in ``night.py``.

Light adds up in linear RGB, so images are linearised first; only fog has a choice, because Foggy
Cityscapes was made on the numbers of the files.

Written on OpenCV: albumentations 2.0.8 (MIT) has come to its end and pulls in a second OpenCV,
its successor albumentationsx is under the AGPL; both work on the image alone.

Shapes: ``H W`` image.
"""

import cv2
import numpy as np

from .light import from_linear, luminance, soften, to_linear
from .scene import BUILT, ROAD, Scene

#: Contrast that is just seen at the meteorological optical range: 5 % (WMO), so beta = 3.0 / range.
_CONTRAST = -np.log(0.05)
#: Share of lying snow that surfaces take if they face up; the rest stays bare.
_SNOW_COVER = {
    "road": 0.75, "sidewalk": 1.0, "pavement": 1.0, "terrain": 1.0, "parking": 0.9,
    "vegetation": 0.5, "tree": 0.5, "car": 0.85, "truck": 0.8, "bus": 0.8, "building": 0.8,
    "wall": 0.8, "fence": 0.5, "traffic sign": 0.2, "bicycle": 0.3, "motorcycle": 0.3,
}  # fmt: skip
#: Of things whose upward faces no depth file tells: share of a thing's height that is its top.
_TOPS = {"car": 0.3, "truck": 0.12, "bus": 0.1, "wall": 0.2, "fence": 0.15}


def airlight(image: np.ndarray) -> np.ndarray:
    """Light of the air at infinite distance, (3,): the median of the haziest thousandth.

    Haziest are the pixels whose neighbourhood's darkest channel is brightest (dark channel prior,
    He et al., CVPR 2009).
    """
    size = max(3, image.shape[0] // 40)
    dark = cv2.erode(image.min(2), np.ones((size, size), np.uint8)).ravel()
    number = max(1, dark.size // 1000)
    haziest = np.argpartition(dark, -number)[-number:]
    return np.median(image.reshape(-1, 3)[haziest], axis=0).astype(np.float32)


def koschmieder(
    image: np.ndarray, distance: np.ndarray, visibility: float, air: np.ndarray
) -> np.ndarray:
    """Koschmieder's law: I = J t + A (1 - t) with t = exp(-beta d), beta = 3.0 / visibility.

    Args:
        image: ``(H, W, 3)`` float32 J.
        distance: ``(H, W)`` d, metres along the ray.
        visibility: Meteorological optical range in metres.
        air: ``(3,)`` A.
    """
    transmission = np.exp(np.float32(-_CONTRAST / visibility) * distance)[..., None]
    return image * transmission + air * (1 - transmission)


def fog(scene: Scene, visibility: float, linear: bool = False) -> np.ndarray:
    """Fog by Koschmieder's law.

    Args:
        scene: The image.
        visibility: Metres; 600, 300 and 150 are Foggy Cityscapes' beta of 0.005, 0.01 and 0.02.
        linear: Mix light, which is physically right and about 20 grey levels brighter, instead of
            the file's numbers, as Foggy Cityscapes does.

    Returns:
        ``(H, W, 3)`` uint8.

    Source: Sakaridis et al., Semantic Foggy Scene Understanding with Synthetic Data, IJCV 2018.
    """
    if linear:
        light = to_linear(scene.image)
        return from_linear(koschmieder(light, scene.distance, visibility, airlight(light)))
    image = scene.image.astype(np.float32)
    mixed = koschmieder(image, scene.distance, visibility, airlight(image))
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _overcast(light: np.ndarray, scene: Scene, amount: float, cloud: np.ndarray) -> np.ndarray:
    """Flat, grey light under a closed sky."""
    bright = luminance(light)
    # What the sun lit comes down and the shade comes up: the wide differences of light go.
    around = soften(bright, scene.height / 25) + np.float32(0.02)
    level = float(np.exp(np.log(around).mean()))
    even = cv2.pow(around * np.float32(1 / level), -0.45 * amount)
    scale = np.float32(0.72) * even * cv2.pow(1 + bright / around, -0.2 * amount)
    grey = (bright * scale)[..., None]
    mixed = grey + (light * scale[..., None] - grey) * np.float32(1 - 0.45 * amount)
    mixed *= cloud / cloud.mean()
    return mixed + scene.sky[..., None] * np.float32(0.95) * (cloud - mixed)


def _cloud(rng: np.random.Generator, level: float) -> np.ndarray:
    """A grey sky's linear RGB (3,), a little bluish."""
    tint = np.float32([0.97, 1.0, 1.03]) ** np.float32(rng.uniform(0.3, 1.5))
    return tint * np.float32(level * rng.uniform(0.85, 1.15))


def _reflection(light: np.ndarray, scene: Scene) -> np.ndarray:
    """What a wet road mirrors, smeared by its roughness: linear RGB, right on the ground only.

    A pixel of the road mirrors what stands at the upper end of the road in its column, upside
    down about the foot of that thing; so nothing is mirrored through what stands on the road.
    """
    height, width = scene.label.shape
    small = 2 if height >= 256 else 1
    size = (width // small, height // small)
    mask = scene.of(ROAD).astype(np.uint8)
    road = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0
    source = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    rows = np.arange(size[1])[:, None]
    # Row of the last thing that was met coming down each column: its foot.
    foot = np.maximum.accumulate(np.where(road, -1, rows), axis=0)
    mirrored = np.clip(2 * foot + 1 - rows, 0, size[1] - 1)
    picture = source[mirrored, np.arange(size[0])[None]]
    # Ripples stretch what is mirrored towards the viewer, the more the nearer.
    weight = cv2.blur(road.astype(np.float32), (3, 1))[..., None] + np.float32(1e-3)
    for share in (40, 12):
        tall = max(3, size[1] // share)
        kernel = (max(1, size[0] // 400) | 1, tall | 1)
        picture = cv2.blur(picture * weight, kernel) / cv2.blur(weight, kernel)[..., None]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def _fresnel(grazing: np.ndarray) -> np.ndarray:
    """Share of light that water mirrors, by the cosine to its normal (Schlick)."""
    return np.float32(0.02) + np.float32(0.98) * (1 - grazing) ** 5


def _falling(
    scene: Scene, rng: np.random.Generator, spec: list[tuple], angle: float
) -> list[np.ndarray]:
    """Opacity ``(H, W)`` of layers of drops or flakes at some distances, the far ones first.

    Args:
        scene: The image.
        rng: For their places.
        spec: Distance in metres, number on a picture of Cityscapes' width, metres across, metres
            fallen during the exposure, and opacity.
        angle: Degrees from the vertical.
    """
    height, width = scene.label.shape
    field = width / (1.1 * scene.focal)  # of the picture's width that this crop shows
    layers = []
    for distance, number, across, fallen, opacity in spec:
        layer = np.zeros((height, width), np.float32)
        count = rng.poisson(number * field * field * height / width * 2)
        size = scene.focal * across / distance
        length = scene.focal * fallen / distance
        at = rng.random((count, 2)) * (width, height)
        turn = np.radians(angle + rng.normal(0, 2.5, count))
        reach = 0.5 * length * rng.uniform(0.6, 1.2, count)
        strength = rng.uniform(0.3, 1.0, count) * opacity
        ends = np.stack([np.sin(turn), np.cos(turn)], 1) * reach[:, None]
        thick = max(1, round(size))
        thin = min(1.0, size)  # what is narrower than a pixel covers a part of it
        for start, end, value in zip(at - ends, at + ends, strength, strict=True):
            first, last = (tuple(int(v * 16) for v in p) for p in (start, end))
            cv2.line(layer, first, last, float(value * thin), thick, cv2.LINE_AA, 4)
        # The lens is focused on the street: what is near is blurred.
        blur = max(0.5, scene.focal * 0.0012 / distance)
        # Nothing falls behind what is nearer.
        layers.append(soften(layer, blur) * (scene.distance > distance))
    return layers


def _veil(
    light: np.ndarray, scene: Scene, weak: float, strong: float, strength: float, air: np.ndarray
) -> np.ndarray:
    """Mist whose visibility goes from one to another with the strength of what falls."""
    visibility = float(np.exp(np.log(weak) + strength * np.log(strong / weak)))
    return koschmieder(light, np.minimum(scene.distance, 400), visibility, air)


def rain(scene: Scene, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A closed sky, a wet road, mist and streaks of drops."""
    cloud = _cloud(rng, 0.42 - 0.12 * strength)
    light = _overcast(to_linear(scene.image), scene, 0.5 + 0.5 * strength, cloud)
    light *= np.float32(0.95 - 0.3 * strength)
    wet = scene.ground * (0.55 + 0.45 * scene.share(dict.fromkeys(ROAD, 1.0)))
    puddles = 0.6 * scene.on_ground(6.0, rng) + 0.4 * scene.on_ground(1.5, rng)
    # Water fills the pores of asphalt, which is darker then and more coloured.
    light *= 1 - (wet * np.float32(0.25 + 0.2 * strength))[..., None]
    mirror = wet * _fresnel(scene.grazing) * (0.25 + 0.75 * np.clip(3 * puddles - 1, 0, 1))
    mirror = np.clip(mirror * np.float32(0.45 + 0.45 * strength), 0, 0.75)[..., None]
    light = light + mirror * (_reflection(light, scene) - light)
    air = cloud * np.float32(0.9)
    light = _veil(light, scene, 2000, 350, strength, air)
    spec = [
        (12.0, 900 * strength, 0.002, 0.16, 0.35),
        (5.0, 260 * strength, 0.002, 0.13, 0.28),
        (1.8, 40 * strength, 0.002, 0.10, 0.2),
    ]
    for layer in _falling(scene, rng, spec, float(rng.uniform(-14, 14))):
        light = light + layer[..., None] * (air - light)
    # Through a wet windscreen nothing is quite sharp.
    light = soften(light, scene.height * (0.0006 + 0.0008 * strength))
    return from_linear(_drops_on_glass(light, scene, strength, rng))


def _drops_on_glass(
    light: np.ndarray, scene: Scene, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Drops on the windscreen: out of focus, each a small, wide, upturned picture of the scene."""
    height, width = scene.label.shape
    field = width / (1.1 * scene.focal)
    count = rng.poisson(14 * strength * field)
    if not count:
        return light
    mask = np.zeros((height, width), np.float32)
    unit = scene.focal / 2000
    for x, y, size, long in zip(
        rng.uniform(0, width, count), rng.uniform(0, height, count),
        rng.gamma(3.0, 6.0, count) * unit, rng.uniform(1.0, 1.7, count), strict=True,
    ):  # fmt: skip
        axes = (max(1, round(size)), max(1, round(size * long)))
        cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, 1.0, -1)
    mask = soften(mask, 5 * unit)[..., None] * np.float32(0.8)
    inside = soften(light[::-1], 24 * unit)
    return light + mask * (0.5 * (inside + soften(light, 16 * unit)) - light)


def _runs(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel the first and the last row of its class's unbroken run in its column."""
    rows = np.arange(len(label))[:, None]
    change = np.ones(label.shape, bool)
    change[1:] = label[1:] != label[:-1]
    first = np.maximum.accumulate(np.where(change, rows, 0), axis=0)
    end = np.ones(label.shape, bool)
    end[:-1] = change[1:]
    last = np.minimum.accumulate(np.where(end, rows, len(label))[::-1], axis=0)[::-1]
    return first, last


def _snow_cover(
    scene: Scene, bright: np.ndarray, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """``(H, W)`` share of each pixel that snow covers."""
    first, last = _runs(scene.label)
    rows = np.arange(scene.height)[:, None]
    below = (rows - first).astype(np.float32)  # pixels below the top of what is seen here
    share_below = below / np.maximum(last - first + 1, 4)
    tops = scene.share(_TOPS)
    top = np.clip(2 * (1 - share_below / np.maximum(tops, 1e-3)), 0, 1) * (tops > 0)
    # A roof's edge against the sky; the roof itself is not seen from the street.
    under_sky = scene.of(("sky",))[np.maximum(first - 1, 0), np.arange(scene.label.shape[1])[None]]
    ridge = np.clip(1.5 - below * scene.distance / (0.5 * scene.focal), 0, 1)
    ridge = ridge * under_sky * scene.of(BUILT)
    green = scene.of(("vegetation", "tree"))
    local = bright / (soften(bright, scene.height / 60) + np.float32(0.01))
    leaves = green * np.clip(local - 0.75, 0, 1) * (0.5 + 0.5 * strength)
    flat = np.maximum(scene.upward * ~green, np.maximum(np.maximum(top, ridge), leaves))
    # Wheels clear their tracks; between and beside them snow stays.
    across = scene.depth * scene.right[None]
    lane = np.abs(np.mod(across + 1.6, 3.2) - 1.6)
    tracks = np.exp(-(((lane - 0.85) / 0.4) ** 2)) * scene.of(("road",))
    patches = 0.55 * scene.on_ground(9.0, rng) + 0.45 * scene.on_ground(2.0, rng)
    lies = np.clip((patches - 0.75 + 0.75 * strength) * 3.5, 0, 1)
    lies = np.where(scene.of(("road",)), lies * (1 - (0.95 - 0.4 * strength) * tracks), 1)
    cover = scene.share(_SNOW_COVER) * flat * lies * np.float32(0.55 + 0.45 * strength)
    return np.clip(soften(cover.astype(np.float32), max(0.7, scene.height / 500)), 0, 1)


def snow(scene: Scene, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A closed sky, snow on what faces up, a white veil and falling flakes."""
    cloud = _cloud(rng, 0.55)
    light = to_linear(scene.image)
    cover = _snow_cover(scene, luminance(light), strength, rng)[..., None]
    light = _overcast(light, scene, 0.6 + 0.4 * strength, cloud)
    # Snow lies smooth: it keeps the wide shading of what is under it and little of its texture.
    grey = luminance(light)
    wide = soften(grey, scene.height / 40)
    shade = (0.75 + 0.25 * wide / (wide.mean() + 1e-3)) * cv2.pow(
        grey / (wide + np.float32(0.02)), 0.25
    )
    white = np.minimum(np.float32(0.9) * cloud * np.clip(shade, 0.55, 1.15)[..., None], 0.9)
    # Where snow has thawed, the road is wet and dark.
    thawed = scene.of(("road",))[..., None] * (1 - cover) * np.float32(0.35)
    light = light * (1 - thawed)
    light = light + cover * np.float32(0.93) * (white - light)
    air = cloud * np.float32(0.95)
    light = _veil(light, scene, 1800, 300, strength, air)
    spec = [
        (20.0, 2600 * strength, 0.011, 0.016, 0.45),
        (8.0, 520 * strength, 0.011, 0.016, 0.5),
        (3.0, 40 * strength, 0.01, 0.02, 0.4),
    ]
    for layer in _falling(scene, rng, spec, float(rng.uniform(-35, 35))):
        light = light + layer[..., None] * (np.float32(1.05) * air - light)
    return from_linear(soften(light, scene.height * 0.0008))
