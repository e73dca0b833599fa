"""Night on a photograph taken by day: little light, from lamps at known places.

Shapes: ``H W`` image, ``L`` lamps.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .depth import CAMERA_HEIGHT
from .light import from_linear, luminance, soften, to_linear
from .scene import VEHICLES, Scene

#: Linear RGB of sodium and LED street lamps, of windows, head lamps, tail lamps and signals.
_SODIUM = np.float32([1.0, 0.47, 0.12])
_LED = np.float32([1.0, 0.60, 0.24])
_WINDOW = np.float32([1.0, 0.62, 0.28])
_HEAD = np.float32([1.0, 0.88, 0.68])
_TAIL = np.float32([1.0, 0.05, 0.02])
_SIGNALS = np.float32([[1.0, 0.08, 0.03], [0.1, 1.0, 0.55], [1.0, 0.55, 0.08]])


@dataclass
class _Lamps:
    """Street lamps beside the road, in the camera's coordinates: ``(L, 3)`` right, down, ahead."""

    places: np.ndarray
    colour: np.ndarray


def night(scene: Scene, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """Street lamps, head lamps, signals and lit windows on surfaces that had the sun on them.

    Args:
        scene: The image.
        exposure: Mean grey level, 0 to 255, that the camera's exposure comes to (ACDC: about 40).
        rng: For lamps and noise.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    surface = _surface(scene)
    lamps = _street_lamps(scene, rng)
    light = surface * _illumination(scene, lamps, rng)
    # Over a town the sky glows a little, most above the horizon.
    glow = 0.006 + 0.03 * np.exp(-np.abs(scene.down) / 0.12)
    sky = (glow[:, None, None] * lamps.colour).astype(np.float32)
    light = light + scene.sky[..., None] * (sky - light)
    sources = _sources(scene, lamps, rng)
    bloom = 0.45 * soften(sources, scene.focal / 700) + 0.3 * soften(sources, scene.focal / 130)
    light = light + sources + bloom + 0.12 * soften(sources, scene.focal / 35)
    # A long exposure, and what the camera does against noise, leave little that is sharp.
    light = soften(light, max(0.6, scene.focal / 1500))
    image = from_linear(light * np.float32(_gain(light, exposure)))
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, np.float32), (0, 0), 0.8)
    return np.clip(image + 1.2 * grain + 0.5, 0, 255).astype(np.uint8)


def _surface(scene: Scene) -> np.ndarray:
    """What colour surfaces are, without the light and shade of the day: linear RGB about 0.2."""
    light = to_linear(scene.image)
    bright = luminance(light)
    around = soften(bright, scene.height / 12) + np.float32(0.01)
    even = light * (np.float32(0.18) * cv2.pow(around, -0.8))[..., None]
    # Panes and paint that mirrored the sky are dark now.
    return even / (1 + np.float32(1.2) * even)


def _street_lamps(scene: Scene, rng: np.random.Generator) -> _Lamps:
    """A row of lamps on each side, at usual distances; where the label has poles, near them."""
    spacing, first = rng.uniform(22, 34), rng.uniform(4, 20)
    side, height = rng.uniform(5, 8), rng.uniform(6, 8)
    ahead = np.arange(first, 110, spacing)
    both = [
        np.stack([np.full_like(ahead, s * side), np.full_like(ahead, CAMERA_HEIGHT - height), z], 1)
        for s, z in ((-1, ahead), (1, ahead + 0.5 * spacing))
    ]
    places = np.concatenate(both).astype(np.float32)
    colour = _SODIUM + rng.uniform(0, 0.8) * (_LED - _SODIUM)
    return _Lamps(places, colour.astype(np.float32))


def _illumination(scene: Scene, lamps: _Lamps, rng: np.random.Generator) -> np.ndarray:
    """Light that falls on each surface: linear RGB ``(H, W, 3)``."""
    height, width = scene.label.shape
    reduce = max(1, height // 160)
    size = (max(1, width // reduce), max(1, height // reduce))
    depth = cv2.resize(np.minimum(scene.depth, 200), size, interpolation=cv2.INTER_AREA)
    right = cv2.resize(scene.right[None], (size[0], 1)).astype(np.float32)
    down = cv2.resize(scene.down[:, None], (1, size[1])).astype(np.float32)
    x, y = depth * right, depth * down
    lit = np.full(depth.shape, 0.02, np.float32)
    for place in lamps.places:
        squared = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (depth - place[2]) ** 2
        # A lamp shines downwards: more on what lies below it.
        below = np.clip((y - place[1]) / np.sqrt(squared + 1e-3), 0.1, 1)
        lit += 9 * below**2 / (squared + 12)
    coloured = lit[..., None] * lamps.colour
    # The own head lamps: a low, wide beam that ends above the road.
    beam = np.exp(-((right / 0.45) ** 2)) / (1 + np.exp(np.clip((-down - 0.01) / 0.012, -30, 30)))
    own = rng.uniform(6, 14) * beam / (depth**2 + 60)
    coloured = coloured + own[..., None] * _HEAD
    return cv2.resize(coloured, (width, height), interpolation=cv2.INTER_LINEAR)


def _sources(scene: Scene, lamps: _Lamps, rng: np.random.Generator) -> np.ndarray:
    """The lamps that are seen themselves: linear RGB ``(H, W, 3)``, above 1."""
    canvas = np.zeros((*scene.label.shape, 3), np.float32)
    _draw_windows(canvas, scene, rng)
    for place in lamps.places[np.argsort(-lamps.places[:, 2])]:
        column, row = _pixel(scene, place)
        inside = 0 <= column < scene.label.shape[1] and 0 <= row < scene.height
        if inside and scene.distance[int(row), int(column)] > 0.85 * np.linalg.norm(place):
            _disc(canvas, column, row, 0.16 * scene.focal / place[2], 4 * lamps.colour)
    _draw_vehicle_lamps(canvas, scene, rng)
    _draw_signals(canvas, scene, rng)
    return canvas


def _pixel(scene: Scene, place: np.ndarray) -> tuple[float, float]:
    """Column and row of a place."""
    x, y = place[0] / place[2], place[1] / place[2]
    step_x, step_y = scene.right[1] - scene.right[0], scene.down[1] - scene.down[0]
    return (x - scene.right[0]) / step_x, (y - scene.down[0]) / step_y


def _disc(canvas: np.ndarray, column: float, row: float, radius: float, colour: np.ndarray) -> None:
    """A lamp; one smaller than a pixel is as much darker."""
    fill = min(1.0, radius / 0.7) ** 2
    centre = (round(column * 16), round(row * 16))
    value = tuple(float(c * fill) for c in colour)
    cv2.circle(canvas, centre, max(8, round(radius * 16)), value, -1, cv2.LINE_AA, 4)


def _parts(mask: np.ndarray, smallest: int) -> list[tuple[int, int, int, int, int]]:
    """Left, top, width, height and area of the connected parts of a mask, the large ones."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [tuple(map(int, part)) for part in stats[1:] if part[4] >= smallest]


def _draw_windows(canvas: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """Some windows of the houses are lit: what is darker there, by day, than the wall around."""
    houses = scene.of(("building",))
    count = rng.poisson(14 * scene.label.shape[1] / (1.1 * scene.focal))
    if not count or not houses.any():
        return
    places = np.argwhere(houses & (scene.down[:, None] < 0.02))
    if not len(places):
        return
    mask = np.zeros(scene.label.shape, np.float32)
    for row, column in places[rng.integers(len(places), size=count)]:
        metres = max(float(scene.distance[row, column]), 6.0)
        wide, tall = rng.uniform(0.5, 0.9), rng.uniform(0.6, 1.0)
        half = np.array([wide, tall]) * scene.focal / metres / 2
        low, high = np.array([column, row]) - half, np.array([column, row]) + half
        value = float(rng.uniform(0.02, 0.14))
        cv2.rectangle(mask, tuple(np.int32(low)), tuple(np.int32(high)), value, -1)
    bright = luminance(to_linear(scene.image))
    panes = 2.85 - 3 * bright / (soften(bright, scene.height / 30) + np.float32(0.01))
    panes = soften(np.clip(panes, 0, 1).astype(np.float32), 0.5)
    canvas += (soften(mask, 0.7) * houses * panes)[..., None] * _WINDOW


def _draw_vehicle_lamps(canvas: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """A pair of lamps on each vehicle: red on those that drive ahead, white on those that come."""
    vehicles = scene.of([name for name in VEHICLES if "cycl" not in name])
    rgb = scene.image.astype(np.int16)
    red = rgb[..., 0] > 1.5 * rgb[..., 1:].max(2) + 20
    smallest = max(12, scene.label.size // 20000)
    for left, top, width, height, area in _parts(vehicles, smallest):
        if width > 4 * height or area < 0.3 * width * height:
            continue  # several that stand in a row
        row, middle = top + 0.58 * height, left + 0.5 * width
        metres = float(scene.distance[min(int(row), scene.height - 1), int(middle)])
        ahead = middle * (scene.right[1] - scene.right[0]) + scene.right[0]
        coming = rng.random() < (0.75 if ahead < 0 else 0.2)
        coming &= not _from_behind(red[top : top + height, left : left + width])
        colour = 5 * _HEAD if coming else 1.2 * _TAIL
        size = (0.09 if coming else 0.07) * scene.focal / max(metres, 4.0)
        for offset in (0.14, 0.86):
            if vehicles[int(row), int(left + offset * width)]:  # not hidden by another thing
                _disc(canvas, left + offset * width, row, size, colour)


def _from_behind(red: np.ndarray) -> bool:
    """Whether the photograph shows tail lamps: red on both sides of a vehicle, not between them."""
    quarter = max(1, red.shape[1] // 4)
    sides = min(red[:, :quarter].mean(), red[:, -quarter:].mean())
    between = red[:, quarter:-quarter]
    return sides > max(0.004, 2 * between.mean() if between.size else 0.0)


def _draw_signals(canvas: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """One lamp of each traffic light."""
    for left, top, width, height, area in _parts(scene.of(("traffic light",)), 6):
        which = int(rng.choice(3, p=(0.45, 0.45, 0.1)))
        row = top + height * (0.2, 0.8, 0.5)[which]
        _disc(canvas, left + 0.5 * width, row, 0.3 * min(width, area**0.5), 3 * _SIGNALS[which])


def _gain(light: np.ndarray, exposure: float) -> float:
    """The factor that brings an image's mean grey level to the exposure."""
    sample = np.ascontiguousarray(light[::4, ::4])
    low, high = -4.0, 8.0  # powers of two
    for _ in range(14):
        middle = 0.5 * (low + high)
        grey = from_linear(sample * np.float32(2**middle)).mean()
        low, high = (middle, high) if grey < exposure else (low, middle)
    return 2**low
