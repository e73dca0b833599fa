"""Procedural textures, made once a process: grounds, facades, foliage, people, clouds.

Every texture comes from its own seed, so it is the same in every process and run. Colours are
sRGB uint8. Ground, facade and cloud textures repeat without a seam.
"""

from functools import lru_cache

import cv2
import numpy as np

from street_world.street.raster import Texture

NUM_FACADES, NUM_TREES, NUM_PEOPLE = 18, 10, 20


@lru_cache(maxsize=64)
def noise(seed: int, size: int = 256, octaves: int = 5, first: int = 4) -> np.ndarray:
    """Fractal value noise, (size, size) float32 in [0, 1], repeating without a seam.

    Args:
        seed: Which one.
        octaves: Each halves both the grain and the amplitude of the one before.
        first: Grains along a side in the first octave; a power of two that divides ``size``.
    """
    rng = np.random.default_rng((seed, 7001))
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        grains = min(first << octave, size)
        grid = rng.random((grains, grains), np.float32)
        grid = np.pad(grid, 2, mode="wrap")
        zoom = size // grains
        big = cv2.resize(grid, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        total += big[2 * zoom : 2 * zoom + size, 2 * zoom : 2 * zoom + size] / 2**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def _tinted(value: np.ndarray, dark: tuple, light: tuple) -> np.ndarray:
    """Colours between ``dark`` (value 0) and ``light`` (value 1), uint8."""
    dark, light = np.float32(dark), np.float32(light)
    return np.clip(dark + value[..., None] * (light - dark), 0, 255).astype(np.uint8)


@lru_cache
def asphalt(seed: int) -> np.ndarray:
    """(512, 512, 3); patches of different age, fine grain, cracks."""
    rng = np.random.default_rng((seed, 7002))
    value = 0.30 * noise(seed, 512, 4, 2) + 0.35 * noise(seed + 50, 512, 3, 64)
    value += 0.35 * rng.random((512, 512), np.float32)
    image = _tinted(value, (70, 70, 72), (120, 119, 118))
    for _ in range(5):
        points = np.cumsum(rng.normal(0, 14, (14, 2)) + rng.normal(0, 8, 2), 0) + 256
        cv2.polylines(image, [points.astype(np.int32)], False, (58, 58, 60), 1, cv2.LINE_AA)
    return image


@lru_cache
def paving(seed: int) -> np.ndarray:
    """(512, 512, 3); rows of slabs with joints."""
    rng = np.random.default_rng((seed, 7003))
    rows, columns = ((16, 16), (16, 32), (32, 32))[seed % 3]
    slabs = rng.random((rows, columns), np.float32)
    slabs = cv2.resize(slabs, (512, 512), interpolation=cv2.INTER_NEAREST)
    value = 0.35 * slabs + 0.4 * noise(seed + 90, 512, 6, 4) + 0.25 * rng.random((512, 512))
    tones = (((112, 108, 104), (158, 153, 147)), ((118, 100, 92), (160, 140, 128)))[seed % 2]
    image = _tinted(value.astype(np.float32), *tones)
    image[:: 512 // rows] = image[:: 512 // rows] * 0.72
    image[:, :: 512 // columns] = image[:, :: 512 // columns] * 0.72
    return image


@lru_cache
def grass(seed: int) -> np.ndarray:
    """(512, 512, 3); tufts, bare and dry spots."""
    rng = np.random.default_rng((seed, 7004))
    value = 0.4 * noise(seed + 20, 512, 5, 8) + 0.6 * rng.random((512, 512), np.float32)
    image = _tinted(value, (52, 66, 30), (112, 124, 66)).astype(np.float32)
    dry = np.clip(noise(seed + 21, 512, 5, 4) * 3 - 1.7, 0, 1)[..., None]
    return (image * (1 - 0.6 * dry) + np.float32((126, 108, 76)) * 0.6 * dry).astype(np.uint8)


@lru_cache
def foliage(seed: int, size: int = 256) -> np.ndarray:
    """(size, size, 3); leaves lit from above: light tops of clumps, dark gaps."""
    rng = np.random.default_rng((seed, 7005))
    clumps = noise(seed + 30, size, 5, 8)
    light = np.clip(0.5 + 3.0 * (clumps - np.roll(clumps, -size // 42, 0)), 0, 1)
    value = 0.45 * clumps + 0.35 * light + 0.2 * rng.random((size, size), np.float32)
    dark, bright = (((24, 34, 16), (104, 122, 52)), ((30, 38, 20), (122, 128, 62)))[seed % 2]
    return _tinted(np.clip(value * 1.35 - 0.2, 0, 1) ** 1.3, dark, bright)


@lru_cache
def tree(seed: int) -> Texture:
    """A crown, 256 x 256 with opacity: clumps on a rounded shape, holes, ragged edge."""
    rng = np.random.default_rng((seed, 7006))
    size = 256
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    shape = np.full((size, size), -1.0, np.float32)
    light = np.zeros((size, size), np.float32)
    narrow = rng.uniform(0.55, 1.0)
    for _ in range(26):
        angle, reach = rng.uniform(0, 2 * np.pi), 0.33 * np.sqrt(rng.random())
        cx, cy, radius = (
            narrow * reach * np.cos(angle),
            reach * np.sin(angle),
            rng.uniform(0.08, 0.17),
        )
        ball = 1 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2
        nearer = ball > shape
        light = np.where(nearer, 0.5 - 0.5 * (y - cy) / radius - 0.5 * cy, light)
        shape = np.maximum(shape, ball)
    ragged = noise(seed + 300, size, 5, 16)
    opacity = np.clip((shape + 0.9 * (ragged - 0.42)) * 6, 0, 1)
    opacity *= np.clip((noise(seed + 310, size, 4, 8) - 0.17) * 14, 0, 1)
    leaves = foliage(seed, size).astype(np.float32)
    colour = leaves * (0.45 + 0.8 * np.clip(light, 0, 1))[..., None]
    image = np.dstack((np.clip(colour, 0, 255), opacity * 255)).astype(np.uint8)
    return Texture(image)


@lru_cache
def hedge(seed: int) -> Texture:
    """Foliage with a ragged upper edge, 128 x 512 with opacity; repeats sideways."""
    leaves = np.hstack([foliage(seed + 5, 256)] * 2)[:128]
    edge = 26 * noise(seed + 320, 512, 6, 4)[0]
    rows = np.arange(128, dtype=np.float32)[:, None]
    opacity = np.clip((rows - edge) * 0.5, 0, 1) * 255
    light = 1.15 - 0.5 * rows[..., None] / 128
    return Texture(np.dstack((np.clip(leaves * light, 0, 255), opacity)).astype(np.uint8))


@lru_cache
def woods(seed: int) -> Texture:
    """A far line of trees, 128 x 512 with opacity; repeats sideways."""
    leaves = np.hstack([foliage(seed + 15, 256)] * 2)[:128]
    edge = 90 * noise(seed + 330, 512, 6, 8)[3]
    rows = np.arange(128, dtype=np.float32)[:, None]
    opacity = np.clip((rows - edge) * 0.7, 0, 1) * 255
    return Texture(np.dstack((leaves * 0.9, opacity)).astype(np.uint8))


@lru_cache
def masonry(seed: int) -> Texture:
    """Bricks, rubble or stained concrete, 128 x 256; repeats."""
    rng = np.random.default_rng((seed, 7007))
    stain = noise(seed + 40, 256, 5, 4)[:128]
    grain = rng.random((128, 256), np.float32)
    tones = (
        ((92, 56, 44), (152, 104, 84)),
        ((116, 112, 104), (168, 162, 152)),
        ((96, 92, 82), (150, 144, 128)),
    )[seed % 3]
    image = _tinted(0.6 * stain + 0.4 * grain, *tones)
    if seed % 3 == 1:  # concrete in panels
        image[:, ::64] = image[:, ::64] * 0.7
    else:
        for row in range(0, 128, 8):
            image[row] = image[row] * 0.75
            image[row : row + 8, (row % 16) :: 16] = image[row : row + 8, (row % 16) :: 16] * 0.8
    return Texture(image)


@lru_cache
def fence(seed: int) -> Texture:
    """Bars, wire mesh or boards, 128 x 256 with opacity; repeats sideways."""
    image = np.zeros((128, 256, 4), np.uint8)
    style = seed % 4
    colours = ((52, 58, 54), (140, 142, 140), (118, 92, 66), (196, 196, 190))
    colour = (*colours[style], 255)
    if style in (0, 3):
        for x in range(4, 256, 16):
            cv2.line(image, (x, 8), (x, 127), colour, 3 if style == 0 else 6)
        for y in (14, 112):
            cv2.line(image, (0, y), (255, y), colour, 5)
    elif style == 1:
        image[..., :3], image[..., 3] = colours[1], 70
        for offset in range(-128, 256, 12):
            cv2.line(image, (offset, 127), (offset + 128, 0), colour, 1)
            cv2.line(image, (offset, 0), (offset + 128, 127), colour, 1)
        for x in (2, 130):
            cv2.line(image, (x, 0), (x, 127), (120, 122, 120, 255), 5)
        image[..., 3] = np.maximum(image[..., 3], 150)
    else:
        for x in range(0, 256, 16):
            shade = 0.85 + 0.3 * ((x * 37) % 64) / 64
            board = tuple(int(min(255, value * shade)) for value in colours[2])
            cv2.rectangle(image, (x + 1, 6 + (x * 13) % 6), (x + 13, 127), (*board, 255), -1)
    image[..., :3][image[..., 3] == 0] = colours[style]
    return Texture(image)


@lru_cache
def grain() -> np.ndarray:
    """(1024, 1024, 3) float32 standard normal: the noise of the sensor, cut out at random."""
    return np.random.default_rng(7014).standard_normal((1024, 1024, 3), np.float32)


@lru_cache
def clouds(seed: int) -> np.ndarray:
    """(512, 512) float32 in [0, 1]: thickness of a layer of clouds, repeating."""
    return noise(seed + 500, 512, 7, 4)


@lru_cache
def streaks(seed: int) -> np.ndarray:
    """(512, 512) float32 in [0, 1]: falling drops, motion-blurred; repeats."""
    rng = np.random.default_rng((seed, 7008))
    image = np.zeros((512, 512), np.float32)
    slant = rng.uniform(-0.12, 0.12)
    for _ in range(420):
        x, y = rng.uniform(0, 512, 2)
        length, value = rng.uniform(14, 60), rng.uniform(0.15, 1.0) ** 2
        for dx in (-512, 0, 512):
            for dy in (-512, 0):
                start = (round(x + dx), round(y + dy))
                end = (round(x + dx + slant * length), round(y + dy + length))
                cv2.line(image, start, end, value, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


@lru_cache
def flakes(seed: int, radius: float, count: int) -> np.ndarray:
    """(512, 512) float32 in [0, 1]: soft, slightly drawn-out flakes; repeats."""
    rng = np.random.default_rng((seed, 7009))
    image = np.zeros((512, 512), np.float32)
    for _ in range(count):
        centre = rng.uniform(0, 512, 2)
        axes = radius * rng.uniform(0.5, 1.4) * np.array((1.0, rng.uniform(1.0, 1.8)))
        value = rng.uniform(0.4, 1.0)
        for dx in (-512, 0, 512):
            for dy in (-512, 0, 512):
                at = np.round((centre + np.array((dx, dy))) * 16).astype(int)
                size = np.round(axes * 16).astype(int)
                cv2.ellipse(
                    image, at.tolist(), size.tolist(), rng.uniform(-15, 15), 0, 360, value, -1,
                    cv2.LINE_AA, 4,
                )  # fmt: skip
    return cv2.GaussianBlur(image, (0, 0), max(0.6, radius / 2))


_WALL_TONES = (
    (196, 184, 164), (172, 160, 142), (186, 150, 122), (150, 96, 78), (204, 200, 190),
    (160, 156, 150), (182, 172, 128), (140, 134, 126), (210, 196, 172), (128, 88, 72),
    (176, 178, 180), (198, 168, 140),
)  # fmt: skip


@lru_cache
def facade(seed: int) -> Texture:
    """Four storeys by six bays, 256 x 256, with windows that may be lit; repeats both ways.

    One repetition stands for 12.8 m up (3.2 m a storey) and about 16 m along.
    """
    rng = np.random.default_rng((seed, 7010))
    size, storeys, bays = 256, 4, 6
    tone = np.float32(_WALL_TONES[seed % len(_WALL_TONES)]) * rng.uniform(0.8, 1.05)
    value = 0.85 + 0.2 * noise(seed + 60, size, 6, 4) + 0.06 * rng.standard_normal((size, size))
    image = np.clip(tone * value[..., None].astype(np.float32), 0, 255)
    glow = np.zeros((size, size, 3), np.float32)
    bands = seed % 3 == 2  # an office block with bands of glass
    width = 1.0 if bands else rng.uniform(0.38, 0.6)
    tall = rng.uniform(0.45, 0.62)
    for storey in range(storeys):
        top = storey * size / storeys
        image[int(top) : int(top) + 2] *= rng.choice((0.78, 1.12))
        for bay in range(bays):
            x0 = (bay + 0.5 - width / 2) * size / bays
            x1, y0 = x0 + width * size / bays, top + 0.2 * size / storeys
            _window(image, glow, (x0, y0, x1, y0 + tall * size / storeys), bands, rng)
    return Texture(image.astype(np.uint8), glow.astype(np.uint8))


def _window(
    image: np.ndarray,
    glow: np.ndarray,
    box: tuple[float, float, float, float],
    band: bool,
    rng: np.random.Generator,
) -> None:
    """Frame, reflecting pane, curtain, sill; one in four is lit at night."""
    x0, y0, x1, y1 = (round(value) for value in box)
    frame = 1 if band else 2
    image[y0 - frame : y1 + frame, max(0, x0 - frame) : x1 + frame] = np.float32(
        (190, 190, 186)
    ) * (0.6 if band else rng.uniform(0.7, 1.1))
    pane = np.float32((52, 60, 68)) * rng.uniform(0.6, 1.5)
    reflection = np.linspace(1.5, 0.75, y1 - y0, dtype=np.float32)[:, None, None]
    image[y0:y1, x0:x1] = pane * reflection
    if rng.random() < 0.35:  # curtain or blind
        drop = y0 + int((y1 - y0) * rng.uniform(0.2, 0.9))
        image[y0:drop, x0:x1] = np.float32((168, 164, 156)) * rng.uniform(0.7, 1.0)
    if not band:
        middle = (x0 + x1) // 2
        image[y0:y1, middle : middle + 1] = 150
        image[y1 + frame : y1 + frame + 2, max(0, x0 - 3) : x1 + 3] *= 0.7
    if rng.random() < 0.25:
        warm = np.float32(((255, 206, 140), (255, 226, 180), (220, 232, 255))[rng.integers(3)])
        shade = rng.uniform(0.35, 1.0) * np.linspace(1.0, 0.6, y1 - y0)[:, None, None]
        glow[y0:y1, x0:x1] = warm * shade


@lru_cache
def shopfront(seed: int) -> Texture:
    """The ground floor of a shop, 64 x 256: glass, doors, a sign; repeats sideways."""
    rng = np.random.default_rng((seed, 7011))
    image = np.full((64, 256, 3), rng.uniform(70, 150), np.float32)
    glow = np.zeros((64, 256, 3), np.float32)
    for shop in range(2):
        left = shop * 128
        sign = rng.integers(30, 230, 3).astype(np.float32)
        image[2:14, left + 4 : left + 124] = sign
        glow[2:14, left + 4 : left + 124] = sign * rng.uniform(0.2, 0.8)
        for letter in range(int(rng.integers(5, 12))):
            x = left + 20 + letter * 8
            image[5:11, x : x + rng.integers(3, 6)] = 235 if sign.mean() < 130 else 40
        lit = np.float32((255, 232, 196)) * rng.uniform(0.1, 0.8)
        for pane in range(3):
            x = left + 6 + pane * 40
            image[18:58, x : x + 36] = np.float32((58, 64, 70)) * rng.uniform(0.6, 1.4)
            glow[18:58, x : x + 36] = lit
            for _ in range(4):
                gx, gy = x + rng.integers(2, 28), rng.integers(34, 52)
                ware = rng.integers(30, 220, 3).astype(np.float32)
                image[gy:57, gx : gx + 6] = ware * 0.7
                glow[gy:57, gx : gx + 6] *= 0.5
    return Texture(image.astype(np.uint8), glow.astype(np.uint8))


_CLOTHES = (
    (38, 40, 48), (62, 66, 78), (28, 30, 34), (120, 44, 42), (52, 74, 116), (150, 146, 138),
    (86, 80, 66), (176, 168, 156), (44, 60, 50), (142, 106, 62), (96, 50, 74), (190, 150, 60),
)  # fmt: skip
_SKIN = ((214, 172, 146), (188, 144, 116), (138, 98, 74), (92, 64, 48))


def _canvas(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 4), np.uint8)


def _limb(image: np.ndarray, points: list, colour: tuple, width: float) -> None:
    """A thick, rounded poly-line; points in pixels."""
    line = np.round(np.float64(points) * 16).astype(np.int32)
    cv2.polylines(image, [line], False, (*colour, 255), max(1, round(width)), cv2.LINE_AA, 4)


def _soften(image: np.ndarray) -> Texture:
    """Spread colours under transparent pixels, so that edges do not darken when shrunk."""
    opacity = image[..., 3:].astype(np.float32) / 255
    spread = cv2.GaussianBlur(image[..., :3] * opacity, (0, 0), 4)
    weight = cv2.GaussianBlur(opacity, (0, 0), 4)[..., None] + 1e-4
    image[..., :3] = np.where(opacity > 0.6, image[..., :3], np.clip(spread / weight, 0, 255))
    return Texture(image)


@lru_cache
def person(seed: int) -> Texture:
    """A standing or walking person, 192 x 80 with opacity: 1.75 m by 0.73 m."""
    rng = np.random.default_rng((seed, 7012))
    image = _canvas(192, 80)
    coat = _CLOTHES[rng.integers(len(_CLOTHES))]
    legs = _CLOTHES[rng.integers(6)]
    skin, hair = _SKIN[rng.integers(4)], ((40, 30, 24), (92, 66, 40), (150, 140, 130))[seed % 3]
    stride = rng.uniform(0, 22)
    hip, shoulder = (40, 100), (40, 42)
    dark = tuple(int(value * 0.75) for value in legs)
    for side, shade in ((-1, dark), (1, legs)):
        knee = (40 + side * stride * 0.6, 140)
        foot = (40 + side * stride, 184)
        _limb(image, [(hip[0] + side * 5, hip[1]), knee, foot], shade, 13)
        _limb(image, [foot, (foot[0] + 5, 187)], (30, 28, 28), 8)
    long_coat = rng.random() < 0.3
    bottom = 132 if long_coat else 106
    outline = [(27, 38), (53, 38), (57, 70), (56, bottom), (24, bottom), (23, 70)]
    cv2.fillPoly(image, [np.int32(outline)], (*coat, 255), cv2.LINE_AA)
    light = tuple(int(min(255, value * 1.2 + 8)) for value in coat)
    cv2.fillPoly(
        image, [np.int32([(40, 40), (53, 40), (56, 70), (55, bottom - 2), (42, bottom - 2)])],
        (*light, 255), cv2.LINE_AA,
    )  # fmt: skip
    for side in (-1, 1):
        swing = side * stride * 0.5
        hand = (40 + side * 17 - swing, 104)
        _limb(image, [(40 + side * 14, 44), (40 + side * 19 - swing / 2, 76), hand], coat, 9)
        cv2.circle(image, (round(hand[0]), 106), 4, (*skin, 255), -1, cv2.LINE_AA)
    _limb(image, [shoulder, (40, 28)], skin, 8)
    cv2.ellipse(image, (40, 19), (10, 13), 0, 0, 360, (*skin, 255), -1, cv2.LINE_AA)
    cv2.ellipse(image, (40, 15), (11, 11), 0, 170, 370, (*hair, 255), -1, cv2.LINE_AA)
    if rng.random() < 0.35:  # bag
        bag = _CLOTHES[rng.integers(len(_CLOTHES))]
        cv2.rectangle(image, (52, 84), (66, 108), (*bag, 255), -1, cv2.LINE_AA)
    return _soften(image)


@lru_cache
def two_wheeler(seed: int, motor: bool, side_on: bool, part: str) -> Texture:
    """A bicycle or motorcycle (part 'vehicle') or who rides it ('rider'), 192 x 192.

    Both parts share one frame of 1.8 m by 1.8 m, so that they fit when painted in one place.
    """
    rng = np.random.default_rng((seed, 7013, int(motor), int(side_on)))
    image = _canvas(192, 192)
    paint = ((40, 40, 44), (150, 34, 34), (38, 66, 120), (180, 180, 176), (60, 110, 70))[seed % 5]
    if part == "vehicle":
        (_vehicle_from_side if side_on else _vehicle_from_behind)(image, motor, paint)
    elif part == "rider":
        coat = _CLOTHES[rng.integers(len(_CLOTHES))]
        legs, skin = _CLOTHES[rng.integers(3)], _SKIN[rng.integers(4)]
        helmet = ((230, 230, 226), (36, 36, 40), (180, 40, 36), (60, 90, 160))[rng.integers(4)]
        (_rider_from_side if side_on else _rider_from_behind)(image, coat, legs, skin, helmet)
    else:
        raise ValueError(f"part is {part!r}; expected 'vehicle' or 'rider'")
    return _soften(image)


def _vehicle_from_side(image: np.ndarray, motor: bool, paint: tuple) -> None:
    radius, thick = (31, 9) if motor else (34, 4)
    for x in (40, 150):
        cv2.circle(
            image, (x, 190 - radius), radius - thick // 2, (26, 26, 28, 255), thick, cv2.LINE_AA
        )
        cv2.circle(image, (x, 190 - radius), 5, (120, 120, 120, 255), -1, cv2.LINE_AA)
    if motor:
        body = [(48, 150), (60, 112), (104, 100), (140, 108), (150, 150), (110, 172), (76, 172)]
        cv2.fillPoly(image, [np.int32(body)], (*paint, 255), cv2.LINE_AA)
        cv2.fillPoly(
            image, [np.int32([(30, 106), (92, 100), (96, 112), (34, 122)])], (24, 24, 26, 255)
        )
        cv2.rectangle(image, (82, 140), (122, 172), (90, 90, 92, 255), -1)
        _limb(image, [(150, 158), (132, 92), (118, 86)], (60, 60, 62), 7)
        return
    for line in (
        [(40, 156), (72, 108), (134, 108), (150, 156)],
        [(72, 104), (94, 158), (134, 110)],
        [(40, 156), (94, 158)],
        [(134, 112), (128, 88), (144, 84)],
    ):
        _limb(image, line, paint, 6)
    _limb(image, [(60, 96), (84, 96)], (30, 28, 28), 7)


def _vehicle_from_behind(image: np.ndarray, motor: bool, paint: tuple) -> None:
    wide = 10 if motor else 4
    cv2.rectangle(image, (96 - wide, 124), (96 + wide, 190), (26, 26, 28, 255), -1)
    if motor:
        cv2.ellipse(image, (96, 128), (22, 24), 0, 0, 360, (*paint, 255), -1, cv2.LINE_AA)
        cv2.rectangle(image, (88, 126), (104, 132), (200, 40, 36, 255), -1)
    else:
        _limb(image, [(96, 96), (96, 130)], paint, 7)
        cv2.rectangle(image, (92, 112), (100, 118), (190, 40, 36, 255), -1)
    _limb(image, [(66, 86), (96, 92), (126, 86)], (50, 50, 52), 6)


def _rider_from_side(
    image: np.ndarray, coat: tuple, legs: tuple, skin: tuple, helmet: tuple
) -> None:
    _limb(image, [(76, 92), (106, 116), (98, 160)], tuple(int(v * 0.75) for v in legs), 13)
    _limb(image, [(76, 92), (110, 124), (92, 166), (102, 168)], legs, 14)
    _limb(image, [(76, 92), (98, 46)], coat, 28)
    _limb(image, [(100, 50), (116, 76), (134, 86)], coat, 10)
    cv2.circle(image, (108, 24), 12, (*skin, 255), -1, cv2.LINE_AA)
    cv2.ellipse(image, (107, 19), (14, 12), 10, 165, 375, (*helmet, 255), -1, cv2.LINE_AA)


def _rider_from_behind(
    image: np.ndarray, coat: tuple, legs: tuple, skin: tuple, helmet: tuple
) -> None:
    for side in (-1, 1):
        _limb(image, [(96 + side * 8, 96), (96 + side * 14, 128), (96 + side * 13, 164)], legs, 13)
        _limb(image, [(96 + side * 17, 46), (96 + side * 28, 70), (96 + side * 26, 86)], coat, 10)
    outline = [(78, 40), (114, 40), (114, 98), (78, 98)]
    cv2.fillPoly(image, [np.int32(outline)], (*coat, 255), cv2.LINE_AA)
    cv2.circle(image, (96, 24), 12, (*skin, 255), -1, cv2.LINE_AA)
    cv2.ellipse(image, (96, 20), (14, 14), 0, 150, 390, (*helmet, 255), -1, cv2.LINE_AA)
