"""Weather without a model: what generated images must beat.

Light adds up in linear RGB, so images are linearised first. Every function takes and returns
linear RGB and draws its randomness from the generator that it is given.

Written on OpenCV: albumentations 2.0.8 (MIT) has come to its end and pulls in a second OpenCV,
its successor albumentationsx is under the AGPL; both work on the image alone, whereas here depth
and label decide where fog is thick, roads are wet and snow lies.

Shapes: ``H W`` image.
"""

import cv2
import numpy as np

__all__ = [
    "airlight",
    "disparity_to_depth",
    "fill_depth",
    "fog",
    "from_linear",
    "night",
    "rain",
    "snow",
    "to_linear",
]

#: Contrast that is just seen at the meteorological optical range: 5 % (WMO), so beta = 3.0 / range.
_CONTRAST = -np.log(0.05)


def to_linear(image: np.ndarray) -> np.ndarray:
    """sRGB uint8 to linear RGB float32 in [0, 1]."""
    value = np.arange(256, dtype=np.float32) / 255
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[image]


def from_linear(light: np.ndarray) -> np.ndarray:
    """Linear RGB to sRGB uint8; the inverse of :func:`to_linear`."""
    light = np.clip(light, 0, 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (value * 255 + 0.5).astype(np.uint8)


def disparity_to_depth(disparity: np.ndarray, baseline: float, focal: float) -> np.ndarray:
    """Depth in metres from Cityscapes' disparity files.

    Cityscapes stores p = 256 d + 1 for a disparity of d pixels, and 0 where there is none. Depth
    is baseline * focal / d.

    Args:
        disparity: ``(H, W)`` uint16.
        baseline: Distance of the cameras in metres (0.209313 in most Cityscapes sequences).
        focal: Focal length in pixels (2262.52).

    Returns:
        ``(H, W)`` float32; NaN where unknown, infinite at disparity 0.
    """
    if disparity.dtype != np.uint16 or disparity.ndim != 2:
        raise ValueError(
            "expected Cityscapes' disparity, (H, W) uint16 PNG, got "
            f"{disparity.shape} {disparity.dtype}"
        )
    pixels = (disparity.astype(np.float32) - 1) / 256
    with np.errstate(divide="ignore"):
        depth = np.float32(baseline * focal) / pixels
    depth[disparity == 0] = np.nan
    return depth


def fill_depth(
    depth: np.ndarray, image: np.ndarray, sky: np.ndarray, far: float = 2000.0
) -> np.ndarray:
    """Complete a depth map: sky is far, holes take the nearest known value, smoothed.

    Args:
        depth: ``(H, W)`` metres, NaN or not positive where unknown.
        image: ``(H, W, 3)`` uint8, whose edges the filled holes follow (guided filter).
        sky: ``(H, W)`` bool.
        far: Metres, of the sky and at most.

    Raises:
        ValueError: If nothing is known.
    """
    depth = np.where(np.isposinf(depth), np.float32(far), depth)
    known = np.isfinite(depth) & (depth > 0) & ~sky
    if not known.any():
        raise ValueError("the depth map has no known value")
    # The label of each pixel is that of the nearest zero, i.e. known, pixel.
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(nearest.max() + 1, np.float32)
    values[nearest[known]] = np.minimum(depth[known], far)
    filled = values[nearest]
    # 1 / depth is linear along a plane; and far noise does not bleed into what is near.
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    smooth = _guided_filter(guide, 1 / filled, max(2, image.shape[0] // 128), 1e-3)
    result = np.where(known, filled, 1 / np.clip(smooth, 1 / far, None))
    return np.where(sky, np.float32(far), result).astype(np.float32)


def _guided_filter(guide: np.ndarray, value: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He et al., Guided Image Filtering, ECCV 2010, with a grey guide."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_v = cv2.blur(guide, size), cv2.blur(value, size)
    slope = (cv2.blur(guide * value, size) - mean_g * mean_v) / (
        cv2.blur(guide * guide, size) - mean_g * mean_g + eps
    )
    offset = mean_v - slope * mean_g
    return cv2.blur(slope, size) * guide + cv2.blur(offset, size)


def airlight(light: np.ndarray) -> np.ndarray:
    """Light of the air at infinite distance, (3,): the median of the haziest thousandth.

    Haziest are the pixels whose neighbourhood's darkest channel is brightest (dark channel prior,
    He et al., CVPR 2009).
    """
    size = max(3, light.shape[0] // 40)
    dark = cv2.erode(light.min(2), np.ones((size, size), np.uint8)).ravel()
    number = max(1, dark.size // 1000)
    haziest = np.argpartition(dark, -number)[-number:]
    return np.median(light.reshape(-1, 3)[haziest], axis=0).astype(np.float32)


def fog(light: np.ndarray, depth: np.ndarray, visibility: float) -> np.ndarray:
    """Koschmieder's law: I = J t + A (1 - t) with t = exp(-beta d).

    Args:
        light: ``(H, W, 3)`` J, linear.
        depth: ``(H, W)`` d in metres.
        visibility: Meteorological optical range in metres; beta = 3.0 / visibility.
    """
    transmission = np.exp(-_CONTRAST / visibility * depth)[..., None].astype(np.float32)
    return light * transmission + airlight(light) * (1 - transmission)


def night(
    light: np.ndarray, sky: np.ndarray, rng: np.random.Generator, exposure: float = 0.04
) -> np.ndarray:
    """Day for night: less and bluer light, a dark sky, and the noise of a sensor at high gain.

    Args:
        light: Linear RGB.
        sky: ``(H, W)`` bool.
        rng: For the noise.
        exposure: Share of the daylight that is left.
    """
    grey = light @ np.float32([0.2126, 0.7152, 0.0722])
    # In the dark the eye and cheap sensors lose colour, and what is left is blue.
    scene = 0.45 * light + 0.55 * grey[..., None] * np.float32([0.75, 0.95, 1.35])
    # A day's sky shines over the edges of what stands before it: take these with it.
    halo = cv2.dilate(sky.astype(np.float32), np.ones((5, 5), np.uint8))
    soft_sky = cv2.GaussianBlur(halo, (0, 0), max(1.0, light.shape[0] / 400))
    scene = scene * (1 - 0.96 * soft_sky[..., None])
    # Lamps of cars and streets light the near ground most.
    height, width = grey.shape
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    beam = np.exp(-(((rows - 0.8) / 0.22) ** 2) - (columns / 0.6) ** 2)
    warm = np.float32([1.0, 0.86, 0.62])
    scene = scene * (exposure + 0.25 * beam[..., None] * warm)
    photons = 2500.0  # a full pixel's at this gain
    noisy = rng.poisson(np.clip(scene, 0, None) * photons).astype(np.float32) / photons
    noisy += rng.normal(0, 0.0015, scene.shape).astype(np.float32)
    # The camera exposes longer, up to a limit.
    level = float(np.percentile(scene, 95))
    return np.clip(noisy * min(8.0, 0.22 / max(level, 1e-3)), 0, 1)


def _layer(shape: tuple[int, int], rng: np.random.Generator, share: float) -> np.ndarray:
    """Seeds of drops or flakes: (H, W) float32, a share of the pixels lit."""
    return (rng.random(shape, np.float32) < share).astype(np.float32)


def _smear(layer: np.ndarray, length: float, angle: float, width: float) -> np.ndarray:
    """Motion blur along ``angle`` (degrees from the vertical), keeping the peak near 1."""
    size = int(length) | 1
    kernel = np.zeros((size, size), np.float32)
    reach = size / 2 * np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    start, end = (size / 2 - reach).astype(int), (size / 2 + reach).astype(int)
    cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0, 1, cv2.LINE_AA)
    streaks = cv2.filter2D(layer, -1, kernel)
    return np.clip(cv2.GaussianBlur(streaks, (0, 0), max(width, 0.4)), 0, 1)


def _overcast(light: np.ndarray, sky: np.ndarray, amount: float) -> np.ndarray:
    """Flatter, greyer light under a closed sky."""
    grey = (light @ np.float32([0.2126, 0.7152, 0.0722]))[..., None]
    flat = (0.55 * grey + 0.45 * light) * 0.75 + 0.03
    mixed = light + amount * (flat - light)
    soft = cv2.GaussianBlur(sky.astype(np.float32), (0, 0), max(1.0, light.shape[0] / 200))
    cloud = np.float32([0.52, 0.55, 0.58])
    return mixed + amount * 0.8 * soft[..., None] * (cloud - mixed)


def rain(
    light: np.ndarray,
    sky: np.ndarray,
    ground: np.ndarray,
    rng: np.random.Generator,
    strength: float = 0.5,
) -> np.ndarray:
    """An overcast sky, wet mirroring ground and streaks of drops at three distances.

    Args:
        light: Linear RGB.
        sky: ``(H, W)`` bool.
        ground: ``(H, W)`` bool: road and pavement.
        rng: For the drops.
        strength: 0 to 1.
    """
    height, width = sky.shape
    scene = _overcast(light, sky, 0.4 + 0.5 * strength)
    wet = cv2.GaussianBlur(ground.astype(np.float32), (0, 0), max(1.0, height / 300))[..., None]
    if ground.any():
        horizon = int(np.flatnonzero(ground.any(1))[0])
        # What stands above the horizon, seen upside down and drawn out by a rough surface.
        rows = np.clip(2 * horizon - np.arange(height), 0, height - 1)
        mirrored = cv2.blur(scene[rows], (3, max(3, height // 12 | 1)))
        scene = scene * (1 - wet * 0.45) + mirrored * wet * (0.15 + 0.35 * strength)
    angle = float(rng.uniform(-12, 12))
    for distance in (1, 2, 4):
        drops = _layer((height, width), rng, (0.0004 + 0.0012 * strength) * distance / 2)
        length = height * 0.05 / distance + 3
        streaks = _smear(drops, length, angle, height / 900 / distance)[..., None]
        scene = scene + 0.35 * streaks * (np.float32([0.75, 0.78, 0.8]) - scene)
    return scene


def snow(
    light: np.ndarray,
    sky: np.ndarray,
    cover: np.ndarray,
    rng: np.random.Generator,
    strength: float = 0.5,
) -> np.ndarray:
    """An overcast sky, snow on what lies open and falling flakes at three distances.

    Args:
        light: Linear RGB.
        sky: ``(H, W)`` bool.
        cover: ``(H, W)`` share of snow that a surface takes, 0 to 1.
        rng: For patches and flakes.
        strength: 0 to 1.
    """
    height, width = sky.shape
    scene = _overcast(light, sky, 0.5 + 0.4 * strength)
    patches = np.zeros((height, width), np.float32)
    for cells, weight in ((6, 0.4), (24, 0.3), (96, 0.3)):
        noise = rng.random((cells, 2 * cells), np.float32)
        patches += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    amount = np.clip((patches - 0.7 + 0.6 * strength) * 4, 0, 1)
    lying = cv2.GaussianBlur((cover * amount).astype(np.float32), (0, 0), max(0.8, height / 400))
    # Snow keeps the shading of what it covers.
    grey = (scene @ np.float32([0.2126, 0.7152, 0.0722]))[..., None]
    white = np.clip(0.55 + 0.5 * grey, 0, 0.95) * np.float32([0.97, 0.99, 1.0])
    scene = scene + lying[..., None] * 0.9 * (white - scene)
    angle = float(rng.uniform(-30, 30))
    for distance in (1, 2, 4):
        flakes = _layer((height, width), rng, (0.00008 + 0.0004 * strength) * distance**2)
        size = height / 400 / distance
        blobs = cv2.dilate(flakes, np.ones((max(1, round(2 * size)),) * 2, np.uint8))
        falling = _smear(blobs, 1 + 5 * size, angle, 0.8 * size)[..., None]
        scene = scene + 0.65 * falling * (0.85 - scene)
    return scene
