"""Light: what each surface sends to the camera, before the air in between.

Shapes: ``H W`` image, ``F`` faces. Linear RGB radiance, float32.
"""

import cv2
import numpy as np

from street_world.street import textures
from street_world.street.build import Caster, Geometry
from street_world.street.classes import (
    BUILDING,
    CAR,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    TRAIN,
    VEGETATION,
)
from street_world.street.conditions import Conditions
from street_world.street.ground import fill_hulls
from street_world.street.planes import fraction, look_up, sample, spread, threefold  # fmt: skip
from street_world.street.raster import GBuffer
from street_world.street.scene import StreetScene

_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.2)


def surface_radiance(scene: StreetScene, geometry: Geometry, state: Conditions) -> np.ndarray:
    """(H, W, 3) radiance of sky and surfaces, snow and water on them included."""
    buffer = geometry.buffer
    face = buffer.face.astype(np.intp)  # NumPy looks up fastest by its own index type
    on_ground = _on_ground(buffer.label)
    radiance = cv2.LUT(buffer.albedo, _LINEAR)
    if state.snow > 0:
        radiance = _snowed(scene, geometry, radiance, face, state.snow)
    if state.wet > 0:
        radiance *= threefold(1 - np.float32(0.42 * state.wet) * on_ground)
    light = _daylight(scene, geometry, face, on_ground, state)
    if state.lamps > 0 or state.beam > 0:
        light += _lamplight(scene, geometry, state)
    radiance *= light
    if state.lamps > 0 and buffer.glow.any():
        radiance += cv2.LUT(buffer.glow, _LINEAR * np.float32(1.5 * state.lamps**1.5))
    radiance += _gloss(buffer, face, state)
    sky = buffer.label == SKY
    last = int(np.flatnonzero(sky.any(1)).max(initial=-1)) + 1
    if last:
        light = sky_radiance(scene, state, last)
        cv2.copyTo(light, sky[:last].view(np.uint8), radiance[:last])
    if state.wet > 0:
        radiance = _reflected(scene, geometry, radiance, state)
    return radiance


def _gloss(buffer: GBuffer, face: np.ndarray, state: Conditions) -> np.ndarray:
    """The sky's reflection in paint and glass, most on what faces up."""
    vehicles = (buffer.classes >= CAR) & (buffer.classes <= TRAIN)
    shiny = np.where(vehicles, 0.035 + 0.16 * np.clip(buffer.normals[:, 1], 0, 1), np.float32(0))
    sky = 0.4 * np.float32(state.horizon) + 0.6 * np.float32(state.zenith)
    return spread(look_up(shiny, face), sky)


def _on_ground(label: np.ndarray) -> np.ndarray:
    return (label <= SIDEWALK) | (label == TERRAIN)


def _sun_direction(state: Conditions) -> np.ndarray:
    flat = np.cos(state.elevation)
    return np.array(
        (flat * np.sin(state.azimuth), np.sin(state.elevation), flat * np.cos(state.azimuth))
    )


def _daylight(
    scene: StreetScene,
    geometry: Geometry,
    face: np.ndarray,
    on_ground: np.ndarray,
    state: Conditions,
) -> np.ndarray:
    """Irradiance of sun and sky, with shadows."""
    buffer, camera = geometry.buffer, scene.camera
    sun = _sun_direction(state)
    normals = buffer.normals
    facing = np.clip(normals @ sun.astype(np.float32), 0, None)
    facing = np.where(buffer.classes == VEGETATION, 0.35 + 0.65 * facing, facing)
    ground, standing = _shadows(scene, geometry, sun)
    direct = look_up(facing * _anchored(geometry, standing), face)
    rows = np.arange(camera.height_px, dtype=np.float32)[:, None] + 0.5
    depth = np.minimum(buffer.depth, 1000)
    height = camera.height - (rows - camera.horizon) * depth / np.float32(camera.focal)
    # The row of houses across the street keeps the sun off the lower part of this one.
    across = np.abs(normals @ np.float32((sun[0], 0, sun[2])))
    opposite = buffer.opposite
    fall = opposite[:, 1] * np.float32(np.tan(state.elevation)) / np.maximum(across, 0.05)
    line = look_up(np.where(opposite[:, 0] > 0, opposite[:, 0] - fall, np.float32(-10)), face)
    direct *= np.clip((height - line) * 1.5 + 0.5, 0, 1)
    direct *= 1 - ground * on_ground
    sky = look_up(0.62 + 0.38 * normals[:, 1], face)
    sky *= 0.72 + 0.28 * np.clip(height / 3.0, 0, 1) + np.float32(0.28) * on_ground
    sky *= 1 - 0.75 * geometry.contact * on_ground
    return spread(sky, state.ambient) + spread(direct, state.sun)


def _shadows(
    scene: StreetScene, geometry: Geometry, sun: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of sun that the ground lacks, (H, W), from everything and from buildings alone."""
    camera = scene.camera
    mask = np.zeros((camera.height_px, camera.width_px), np.uint8)
    reach = -sun[[0, 2]] / max(float(sun[1]), 0.03)
    for only_buildings in (True, False):
        casters = [c for c in geometry.casters if c.is_building == only_buildings]
        for group in _by_corners(casters):
            outline = np.stack([caster.outline for caster in group])
            bottom, top = np.array([(caster.bottom, caster.top) for caster in group]).T
            near = outline + reach * bottom[:, None, None]
            far = outline + reach * top[:, None, None]
            fill_hulls(mask, camera, np.concatenate((near, far), 1), 255)
        if only_buildings:
            standing = mask.copy()
    soft = cv2.GaussianBlur(mask, (0, 0), 0.9 * camera.height_px / 256)
    return soft.astype(np.float32) / 255, standing


def _by_corners(casters: list[Caster]) -> list[list[Caster]]:
    """The casters in groups of the same number of corners."""
    groups: dict[int, list[Caster]] = {}
    for caster in casters:
        groups.setdefault(len(caster.outline), []).append(caster)
    return list(groups.values())


def _anchored(geometry: Geometry, standing: np.ndarray) -> np.ndarray:
    """(F,) whether the foot of a face's object is in the sun."""
    camera, anchors = geometry.buffer.camera, geometry.buffer.anchors
    lit = np.ones(len(anchors), np.float32)
    known = np.flatnonzero(anchors[:, 1] > 1.0)
    x, z = anchors[known].T
    column = np.clip(camera.centre + camera.focal * x / z, 0, camera.width_px - 1).astype(int)
    row = np.clip(camera.horizon + camera.focal * camera.height / z, 0, camera.height_px - 1)
    lit[known] = 1 - standing[row.astype(int), column] / np.float32(255)
    return lit


def _positions(scene: StreetScene, geometry: Geometry, step: int) -> tuple[np.ndarray, ...]:
    """World position of every ``step``-th pixel; the sky is put far away."""
    camera = scene.camera
    z = np.minimum(geometry.buffer.depth[step // 2 :: step, step // 2 :: step], 500)
    rows = (np.arange(z.shape[0], dtype=np.float32)[:, None] * step) + step // 2 + 0.5
    columns = (np.arange(z.shape[1], dtype=np.float32)[None] * step) + step // 2 + 0.5
    x = (columns - camera.centre) * z / np.float32(camera.focal)
    y = camera.height - (rows - camera.horizon) * z / np.float32(camera.focal)
    return x, y, z


def _lamplight(scene: StreetScene, geometry: Geometry, state: Conditions) -> np.ndarray:
    """Irradiance of street lamps and own headlights; smooth, so computed at half size."""
    buffer, camera = geometry.buffer, scene.camera
    step = 2
    x, y, z = _positions(scene, geometry, step)
    face = buffer.face[step // 2 :: step, step // 2 :: step].astype(np.intp)
    nx, ny, nz = (look_up(buffer.normals[:, axis], face) for axis in range(3))
    by_colour: dict[tuple, np.ndarray] = {}
    for lamp in geometry.lamps if state.lamps > 0 else ():
        px, py, pz = lamp.position
        if pz > 120:
            continue
        dx, dy, dz = px - x, py - y, pz - z
        square = dx * dx + dy * dy + dz * dz + 1.0
        distance = cv2.sqrt(square)
        cosine = np.maximum((nx * dx + ny * dy + nz * dz) / distance, 0)
        # Lamps shine downwards; a little scatters everywhere.
        down = np.clip(dy / distance * 1.4, 0.04, 1)
        light = (0.12 + 0.88 * cosine) * down / square
        light *= np.float32(3.0 * lamp.power * state.lamps)
        by_colour[lamp.colour] = by_colour.get(lamp.colour, 0) + light
    if state.beam > 0:
        by_colour[_HEADLIGHT] = np.float32(state.beam) * _beam(x, y, z, (nx, ny, nz))
    total = np.zeros((*z.shape, 3), np.float32)
    for colour, light in by_colour.items():
        total += spread(light, colour)
    size = (camera.width_px, camera.height_px)
    return cv2.resize(total, size, interpolation=cv2.INTER_LINEAR)


_HEADLIGHT = (1.0, 0.96, 0.86)


def _beam(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, normal: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Irradiance of the own headlights at full strength, dipped, by position and normal."""
    nx, ny, nz = normal
    distance = cv2.sqrt(x * x + z * z) + 0.5
    sideways = cv2.exp((x / distance) ** 2 * np.float32(-1 / 0.05))
    # The cut-off runs just below the horizon.
    cut = np.clip((0.75 - y + 0.012 * z) / (0.25 + 0.02 * z), 0.015, 1)
    graze = 0.1 + 0.9 * np.clip(-(nx * x + nz * z) / distance, 0, 1)
    graze = np.where(ny > 0.9, np.clip(2.2 / distance, 0.06, 1), graze)
    return 13.0 * sideways * cut * graze / (distance**2 + 30)


def sky_radiance(scene: StreetScene, state: Conditions, num_rows: int) -> np.ndarray:
    """(num_rows, W, 3) radiance of the sky in the directions of the image's upper rows."""
    camera = scene.camera
    rows = np.arange(num_rows, dtype=np.float32)[:, None] + 0.5
    columns = np.arange(camera.width_px, dtype=np.float32)[None] + 0.5
    up = np.maximum((camera.horizon - rows) / np.float32(camera.focal), 1e-3)
    across = (columns - camera.centre) / np.float32(camera.focal)
    lift = (1 - np.exp(-3.2 * up))[..., None]
    sky = np.float32(state.horizon) * (1 - lift) + np.float32(state.zenith) * lift
    sky = np.repeat(sky, camera.width_px, 1)
    if state.disc > 0:
        sun = _sun_direction(state).astype(np.float32)
        length = cv2.sqrt(across**2 + up**2 + 1)
        towards = np.clip((across * sun[0] + up * sun[1] + sun[2]) / length, 0, 1)
        glow = 0.22 * cv2.pow(towards, 6) + 0.7 * cv2.pow(towards, 60)
        glow += 6.0 * cv2.pow(towards, 1800)
        glow *= np.float32(state.disc)
        sky += spread(glow, np.float32(state.sun) * np.float32((1.0, 0.93, 0.8)))
    # A flat layer of clouds: position on it is direction over its rise.
    texture = textures.clouds(scene.sky.texture)
    map_x = fraction(60 * across / (up + 0.06) + np.float32(scene.sky.drift[0]), 512)
    map_y = fraction(60 / (up + 0.06) + np.float32(scene.sky.drift[1]), 512)
    map_y = np.repeat(map_y, camera.width_px, 1)
    thick = cv2.remap(texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    opacity = np.clip((thick + np.float32(0.62 * state.cover - 0.78)) * 3.2, 0, 1)
    opacity *= 0.9 * np.clip(up * 9 + 0.25, 0, 1)
    shade = spread(1.1 - 0.32 * thick, state.cloud)
    sky += (shade - sky) * threefold(opacity)
    return sky


def _snowed(
    scene: StreetScene, geometry: Geometry, albedo: np.ndarray, face: np.ndarray, snow: float
) -> np.ndarray:
    """Snow settles on what faces up; traffic clears the wheel tracks, trees carry little."""
    buffer = geometry.buffer
    label = buffer.label
    patches = textures.noise(70 + scene.seed % 3, 512, 6, 8)
    height, width = label.shape
    on_ground, on_road = _on_ground(label), label == ROAD
    grain = sample(patches, geometry.ground_s * 24, geometry.ground_t * 24)
    resistance = np.where(on_road, 0.25 + 0.75 * _tracks(scene, geometry), np.float32(0.04))
    screen = patches.take((np.arange(height) * 7) & 511, 0).take((np.arange(width) * 7) & 511, 1)
    hold = np.zeros(256, np.float32)
    hold[[VEGETATION, BUILDING, CAR]] = 0.4, 1.0, 0.9
    up = np.clip(buffer.normals[:, 1], 0, 1)
    standing = look_up(up**1.5 * hold[buffer.classes], face)
    light = cv2.transform(albedo, np.full((1, 3), 6 / 3, np.float32))  # six times the mean
    standing *= np.where(label == VEGETATION, 0.4 + light, np.float32(1))
    level = np.where(on_ground, 1.25 - resistance, 1.15 * standing)
    noise = np.where(on_ground, 0.5 * grain, 0.35 * screen)
    cover = np.clip((np.float32(1.5 * snow) * level - noise) * 2.2, 0, 1)
    cover *= np.minimum(1, 3 * level)
    cover = np.clip(cover * np.float32(min(1.0, 4 * snow)), 0, 0.96)
    white = (0.82 + 0.22 * np.where(on_ground, grain, screen)) * cover
    white *= np.where(on_road, np.float32(0.72), np.float32(1))  # slush
    kept = (1 - np.float32(0.25 * min(1.0, snow)) * on_ground) * (1 - cover)
    return albedo * threefold(kept) + spread(white, (0.80, 0.83, 0.87))


def _tracks(scene: StreetScene, geometry: Geometry) -> np.ndarray:
    """How far traffic has cleared the road, (H, W) in [0, 1]: two wheel tracks a lane."""
    road, t = scene.road, geometry.ground_t
    rng = np.random.default_rng((scene.seed, 5))
    traffic = rng.uniform(0.25, 0.85)
    lane = (road.half_width - (2.2 if road.parking else 0.3)) / road.lanes
    wheel = np.abs(np.abs(fraction(t + 40 * lane, lane) - lane / 2) - 0.78)
    return np.clip(1.5 - wheel / 0.3, 0, 1) * np.float32(traffic) * (np.abs(t) < road.lanes * lane)


def _reflected(
    scene: StreetScene, geometry: Geometry, radiance: np.ndarray, state: Conditions
) -> np.ndarray:
    """Mirror images in the wet ground.

    An object at depth z and height y appears f y / z above its foot, its mirror image as much
    below it. So pixel v of the ground mirrors row 2 (horizon + f h / z) - v, where z is the depth
    found there: two rounds of looking it up are enough.
    """
    camera, buffer = scene.camera, geometry.buffer
    top = max(0, int(camera.horizon) + 1)
    rows = np.arange(top, camera.height_px, dtype=np.float32)[:, None]
    columns = np.arange(camera.width_px, dtype=np.float32)[None]
    s, t = geometry.ground_s[top:], geometry.ground_t[top:]
    ripple = sample(textures.noise(80, 512, 5, 16), s * 40, t * 90)
    depth = (rows - camera.horizon) / np.float32(camera.height * camera.focal)
    steep = np.clip(depth * 60, 0.15, 1.0)
    ripple = (ripple - 0.5) * np.float32(0.09 * camera.height_px) * steep
    source = np.broadcast_to(2 * camera.horizon - rows, ripple.shape)
    foot = np.float32(camera.focal * camera.height) / np.minimum(buffer.depth, 1e4)
    foot = (foot + np.float32(camera.horizon)).ravel()
    column = np.arange(camera.width_px)
    for _ in range(2):
        row = np.clip(source, 0, camera.height_px - 1).astype(np.intp)
        source = 2 * foot.take(row * camera.width_px + column) - rows
    map_y = np.clip(source + ripple, 0, camera.height_px - 1)
    map_x = columns + 0.3 * ripple
    smooth = cv2.blur(radiance, (3, max(3, camera.height_px // 12) | 1))
    mirrored = cv2.remap(smooth, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Schlick's approximation for water.
    distance = camera.height / np.maximum(depth * camera.height, 1e-6)
    cosine = np.clip(camera.height / np.maximum(distance, camera.height), 0, 1)
    fresnel = 0.02 + 0.98 * (1 - cosine) ** 5
    puddle = sample(textures.noise(81 + scene.seed % 4, 512, 5, 4), s * 14, t * 22)
    film = np.clip(0.25 + 2.2 * (puddle - 0.5), 0.12, 0.75)
    share = np.clip(fresnel * film, 0, 1) * (buffer.label[top:] <= SIDEWALK)
    share *= np.float32(state.wet * (1 - 0.9 * state.snow))
    radiance[top:] += (mirrored - radiance[top:]) * threefold(share)
    return radiance
