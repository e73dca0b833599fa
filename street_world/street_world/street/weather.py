"""Air, rain and snow between the scene and the lens, then the camera itself.

Shapes: ``H W`` image. Radiance is linear RGB float32.
"""

import cv2
import numpy as np

from street_world.street import textures
from street_world.street.conditions import Conditions
from street_world.street.planes import row_of, spread, threefold
from street_world.street.raster import Camera
from street_world.street.scene import StreetScene

FOG_HEIGHT = 60.0  # metres; fog and haze are layers, so the sky shows through thin ones


def optical_path(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Metres of air along each pixel's ray, (H, W) float32.

    To a surface it is the distance; to the sky, the way out of a layer ``FOG_HEIGHT`` deep, so
    that it is finite and fog of vanishing density leaves the sky as it is.
    """
    rows = np.arange(camera.height_px, dtype=np.float32)[:, None] + 0.5
    columns = np.arange(camera.width_px, dtype=np.float32)[None] + 0.5
    up = (np.float32(camera.horizon) - rows) / np.float32(camera.focal)
    across = (columns - np.float32(camera.centre)) / np.float32(camera.focal)
    slant = np.sqrt(1 + up * up + across * across)
    out = FOG_HEIGHT / np.maximum(up, FOG_HEIGHT / 2000)
    return np.minimum(depth, out) * slant


def koschmieder(
    radiance: np.ndarray, path: np.ndarray, beta: float, airlight: tuple[float, float, float]
) -> np.ndarray:
    """Koschmieder's law: L = L0 exp(-beta d) + A (1 - exp(-beta d)).

    Args:
        radiance: (H, W, 3) without air.
        path: (H, W) metres.
        beta: Attenuation coefficient in 1/m.
        airlight: A, the radiance of the air at infinite distance.
    """
    transmission = threefold(cv2.exp(path * np.float32(-beta)))
    air = row_of(airlight, radiance.shape[1])
    result = radiance - air
    result *= transmission
    result += air
    return result


def falling(scene: StreetScene, state: Conditions, radiance: np.ndarray) -> np.ndarray:
    """Streaks of rain and flakes of snow at several distances, lit by the light around them."""
    if state.rain <= 0 and state.flakes <= 0:
        return radiance
    rng = np.random.default_rng((scene.seed, 6))
    height, width = radiance.shape[:2]
    zoom = height / 256
    ambient = np.float32(state.ambient) * np.float32(1.5) + np.float32(state.airlight) * 0.5
    if state.lamps > 0.5:  # at night drops show where light falls on them
        around = cv2.blur(radiance, (width // 8 | 1, height // 6 | 1))
        ambient = row_of(ambient, width) + np.float32(0.8) * around
    cover = np.zeros((height, width), np.float32)
    for layer in range(3):
        offset = rng.integers(0, 512, 2)
        if state.rain > 0:
            size = zoom * (0.6, 1.0, 1.9)[layer]
            cover += _tiled(textures.streaks(layer), (height, width), size, offset) * np.float32(
                state.rain * (0.12, 0.12, 0.08)[layer]
            )
        if state.flakes > 0:
            texture = textures.flakes(layer, (1.0, 2.0, 4.5)[layer], (700, 220, 40)[layer])
            cover += _tiled(texture, (height, width), zoom, offset) * np.float32(
                state.flakes * (0.5, 0.5, 0.3)[layer]
            )
    cover = threefold(np.minimum(cover, 0.85))
    if ambient.ndim == 1:
        ambient = row_of(ambient, width)
    return radiance + (ambient * np.float32(1.15) - radiance) * cover


def _tiled(
    texture: np.ndarray, size: tuple[int, int], zoom: float, offset: np.ndarray
) -> np.ndarray:
    """The repeating texture from ``offset`` on, magnified ``zoom`` times, as large as the image."""
    need = (int(size[0] / zoom) + 2, int(size[1] / zoom) + 2)
    rows = (np.arange(need[0]) + offset[0]) % texture.shape[0]
    start, stop = int(offset[1]), int(offset[1]) + need[1]
    # Slices of whole turns: picking single columns takes three times longer.
    turns = [
        texture[:, max(start - turn, 0) : stop - turn]
        for turn in range(0, stop, texture.shape[1])
        if turn + texture.shape[1] > start
    ]
    part = np.concatenate([turn.take(rows, 0) for turn in turns], 1)
    if zoom == 1.0:
        return part[: size[0], : size[1]]
    big = cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    if big.shape[0] < size[0] or big.shape[1] < size[1]:
        big = cv2.resize(big, (size[1], size[0]))
    return big[: size[0], : size[1]]


def _drops(scene: StreetScene, state: Conditions, radiance: np.ndarray) -> np.ndarray:
    """Drops on the lens: each shows the scene upside down, small and out of focus."""
    rng = np.random.default_rng((scene.seed, 8))
    height, width = radiance.shape[:2]
    blurred = cv2.blur(radiance, (height // 20 | 1, height // 20 | 1))
    result = radiance.copy()
    for _ in range(int(rng.integers(6, 22))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        radius = height * rng.uniform(0.008, 0.032)
        y0, y1 = max(0, int(y - radius)), min(height, int(y + radius) + 1)
        x0, x1 = max(0, int(x - radius)), min(width, int(x + radius) + 1)
        if y1 - y0 < 2 or x1 - x0 < 2:
            continue
        rows = np.arange(y0, y1, dtype=np.float32)[:, None]
        columns = np.arange(x0, x1, dtype=np.float32)[None]
        inside = np.sqrt((rows - y) ** 2 + (columns - x) ** 2) / radius
        weight = np.clip((1 - inside) * 2.5, 0, 1) * np.float32(0.8 * state.drops)
        reach = np.float32(5.0)
        map_x = np.broadcast_to(x - (columns - x) * reach, inside.shape).astype(np.float32)
        map_y = np.broadcast_to(y - (rows - y) * reach, inside.shape).astype(np.float32)
        seen = cv2.remap(blurred, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        part = result[y0:y1, x0:x1]
        part += (seen - part) * threefold(weight)
    return result


_CURVE_STEPS = 4096
_WHITE = 4.0  # radiance that saturates the sensor


def _curve() -> np.ndarray:
    """Radiance, as sqrt(radiance / _WHITE) in steps, to sRGB in [0, 1]: a film-like shoulder."""
    value = _WHITE * (np.arange(_CURVE_STEPS + 1) / _CURVE_STEPS) ** 2
    film = (value * (2.51 * value + 0.03)) / (value * (2.43 * value + 0.59) + 0.14)
    return np.clip(film, 0, 1).astype(np.float32) ** np.float32(1 / 2.2)


_CURVE = _curve()


def develop(scene: StreetScene, state: Conditions, radiance: np.ndarray) -> np.ndarray:
    """What the camera makes of the light: lens, exposure, noise, response; uint8 sRGB.

    Noise is drawn in the same order in every domain: only its strength differs.
    """
    look = scene.look
    height, width = radiance.shape[:2]
    image = radiance.astype(np.float32, copy=False)
    if state.drops > 0:
        image = _drops(scene, state, image)
    if state.bloom > 0:
        image = _bloomed(image, state)
    image = cv2.GaussianBlur(image, (0, 0), look.blur * max(1.0, height / 256))
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    falloff = 1 - np.float32(look.vignette) * 0.5 * (rows**2 + columns**2)
    gain = np.float32(state.exposure * look.exposure) * np.float32(look.balance)
    image *= spread(falloff, gain)
    rng = np.random.default_rng((scene.seed, 9))
    level = look.noise * state.noise
    grain = textures.grain()
    offset = rng.integers(0, grain.shape[0], 2)
    grain = _tiled(grain, (height, width), 1.0, offset)
    # Shot noise grows with the root of the light, read noise is constant.
    spread_of_noise = cv2.sqrt(np.maximum(image, 0) * 0.6 + np.float32(0.04 * level))
    spread_of_noise *= np.float32(level)
    image += grain * spread_of_noise
    index = cv2.sqrt(np.clip(image, 0, _WHITE) * np.float32(1 / _WHITE)) * np.float32(_CURVE_STEPS)
    image = _CURVE.take(index.astype(np.int32))
    saturation = look.saturation * state.saturation
    mix = saturation * np.eye(3) + (1 - saturation) * np.float64((0.299, 0.587, 0.114))
    return cv2.convertScaleAbs(np.maximum(cv2.transform(image, mix), 0), alpha=255)


def _bloomed(image: np.ndarray, state: Conditions) -> np.ndarray:
    """A share of the light above the surroundings scatters around its source."""
    height, width = image.shape[:2]
    small = cv2.resize(
        np.minimum(image, 6.0), (width // 4, height // 4), interpolation=cv2.INTER_AREA
    )
    sigma = height / 256
    wide = cv2.GaussianBlur(small, (0, 0), 2.0 * sigma) * 0.6
    wide += cv2.GaussianBlur(small, (0, 0), 7.0 * sigma) * 0.4
    halo = cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)
    return image + (halo - image) * np.float32(state.bloom)
