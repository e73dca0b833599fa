"""Light: what each surface sends to the camera, before the air in between.

Shapes: ``H W`` image, ``F`` faces. Linear RGB radiance, float32.
"""

import cv2
import numpy as np

from mmseg_domino.mini.street import textures
from mmseg_domino.mini.street.build import Geometry, fill_ground
from mmseg_domino.mini.street.classes import (
    BUILDING,
    CAR,
    ROAD,
    SIDEWALK,
    TERRAIN,
    TRAIN,
    VEGETATION,
)  # fmt: skip
from mmseg_domino.mini.street.conditions import Conditions
from mmseg_domino.mini.street.raster import GBuffer
from mmseg_domino.mini.street.scene import StreetScene

__all__ = ["sky_radiance", "surface_radiance"]

_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.2)


def surface_radiance(scene: StreetScene, geometry: Geometry, state: Conditions) -> np.ndarray:
    """(H, W, 3) radiance of sky and surfaces, snow and water on them included."""
    buffer = geometry.buffer
    albedo = _LINEAR[buffer.albedo]
    if state.snow > 0:
        albedo = _snowed(scene, geometry, albedo, state.snow)
    if state.wet > 0:
        albedo = albedo * (1 - 0.42 * state.wet * _on_ground(buffer.label))[..., None]
    light = _daylight(scene, geometry, state)
    if state.lamps > 0 or state.beam > 0:
        light += _lamplight(scene, geometry, state)
    radiance = albedo * light
    if state.lamps > 0:
        radiance += _LINEAR[buffer.glow] * np.float32(1.5 * state.lamps**1.5)
    radiance += _gloss(buffer, state)
    sky = buffer.face == 0
    last = int(np.flatnonzero(sky.any(1)).max(initial=-1)) + 1
    if last:
        light = sky_radiance(scene, state, last)
        np.copyto(radiance[:last], light, where=sky[:last, :, None])
    if state.wet > 0:
        radiance = _reflected(scene, geometry, radiance, state)
    return radiance


def _gloss(buffer: GBuffer, state: Conditions) -> np.ndarray:
    """The sky's reflection in paint and glass, most on what faces up."""
    vehicles = (buffer.classes >= CAR) & (buffer.classes <= TRAIN)
    shiny = np.where(vehicles, 0.035 + 0.16 * np.clip(buffer.normals[:, 1], 0, 1), np.float32(0))
    return shiny[buffer.face][..., None] * (
        0.4 * np.float32(state.horizon) + 0.6 * np.float32(state.zenith)
    )


def _on_ground(label: np.ndarray) -> np.ndarray:
    return (label <= SIDEWALK) | (label == TERRAIN)


def _sun_direction(state: Conditions) -> np.ndarray:
    flat = np.cos(state.elevation)
    return np.array(
        (flat * np.sin(state.azimuth), np.sin(state.elevation), flat * np.cos(state.azimuth))
    )


def _daylight(scene: StreetScene, geometry: Geometry, state: Conditions) -> np.ndarray:
    """Irradiance of sun and sky, with shadows."""
    buffer, camera = geometry.buffer, scene.camera
    sun = _sun_direction(state)
    normals, label = buffer.normals, buffer.label
    facing = np.clip(normals @ sun.astype(np.float32), 0, None)
    facing = np.where(buffer.classes == VEGETATION, 0.35 + 0.65 * facing, facing)
    ground, standing = _shadows(scene, geometry, sun)
    direct = facing * _anchored(geometry, standing)
    rows = np.arange(camera.height_px, dtype=np.float32)[:, None] + 0.5
    depth = np.minimum(buffer.depth, 1000)
    height = camera.height - (rows - camera.horizon) * depth / np.float32(camera.focal)
    # The row of houses across the street keeps the sun off the lower part of this one.
    across = np.abs(normals @ np.float32((sun[0], 0, sun[2])))
    opposite = buffer.opposite
    fall = opposite[:, 1] * np.float32(np.tan(state.elevation)) / np.maximum(across, 0.05)
    line = np.where(opposite[:, 0] > 0, opposite[:, 0] - fall, -10)[buffer.face]
    direct = direct[buffer.face] * np.clip((height - line) * 1.5 + 0.5, 0, 1)
    direct *= 1 - ground * _on_ground(label)
    sky = (0.62 + 0.38 * normals[:, 1])[buffer.face]
    sky *= 0.72 + 0.28 * np.clip(height / 3.0, 0, 1) + 0.28 * _on_ground(label)
    sky *= 1 - 0.75 * geometry.contact * _on_ground(label)
    return sky[..., None] * np.float32(state.ambient) + direct[..., None] * np.float32(state.sun)


def _shadows(
    scene: StreetScene, geometry: Geometry, sun: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of sun that the ground lacks, (H, W), from everything and from buildings alone."""
    camera = scene.camera
    mask = np.zeros((camera.height_px, camera.width_px), np.uint8)
    reach = -sun[[0, 2]] / max(float(sun[1]), 0.03)
    for only_buildings in (True, False):
        for caster in geometry.casters:
            if caster.is_building != only_buildings:
                continue
            near, far = caster.outline + reach * caster.bottom, caster.outline + reach * caster.top
            hull = cv2.convexHull(np.concatenate((near, far)).astype(np.float32))[:, 0]
            fill_ground(mask, scene, hull.astype(np.float64), 255)
        if only_buildings:
            standing = mask.copy()
    soft = cv2.GaussianBlur(mask, (0, 0), 0.9 * camera.height_px / 256)
    return soft.astype(np.float32) / 255, standing


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
    face = buffer.face[step // 2 :: step, step // 2 :: step]
    normal = buffer.normals[face]
    total = np.zeros((*z.shape, 3), np.float32)
    for lamp in geometry.lamps if state.lamps > 0 else ():
        px, py, pz = lamp.position
        if pz > 120:
            continue
        dx, dy, dz = px - x, py - y, pz - z
        square = dx * dx + dy * dy + dz * dz + 1.0
        cosine = (normal[..., 0] * dx + normal[..., 1] * dy + normal[..., 2] * dz) / np.sqrt(square)
        # Lamps shine downwards; a little scatters everywhere.
        down = np.clip(dy / np.sqrt(square) * 1.4, 0.04, 1)
        power = np.float32(3.0 * lamp.power * state.lamps) * down / square
        total += ((0.12 + 0.88 * np.clip(cosine, 0, 1)) * power)[..., None] * np.float32(
            lamp.colour
        )
    if state.beam > 0:
        distance = np.sqrt(x * x + z * z) + 0.5
        spread = np.exp(-((x / distance) ** 2) / 0.05)
        # Dipped beam: the cut-off runs just below the horizon.
        cut = np.clip((0.75 - y + 0.012 * z) / (0.25 + 0.02 * z), 0.015, 1)
        graze = 0.1 + 0.9 * np.clip(-(normal[..., 0] * x + normal[..., 2] * z) / distance, 0, 1)
        graze = np.where(normal[..., 1] > 0.9, np.clip(2.2 / distance, 0.06, 1), graze)
        beam = np.float32(13.0 * state.beam) * spread * cut * graze / (distance**2 + 30)
        total += beam[..., None] * np.float32((1.0, 0.96, 0.86))
    size = (camera.width_px, camera.height_px)
    return cv2.resize(total, size, interpolation=cv2.INTER_LINEAR)


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
        length = np.sqrt(across**2 + up**2 + 1)
        towards = np.clip((across * sun[0] + up * sun[1] + sun[2]) / length, 0, 1)
        glow = 0.22 * towards**6 + 0.7 * cv2.pow(towards, 60) + 6.0 * cv2.pow(towards, 1800)
        strength = np.float32(state.disc) * glow[..., None].astype(np.float32)
        sky = sky + strength * np.float32(state.sun) * np.float32((1.0, 0.93, 0.8))
    # A flat layer of clouds: position on it is direction over its rise.
    texture = textures.clouds(scene.sky.texture)
    map_x = (60 * across / (up + 0.06) + scene.sky.drift[0]) % 512
    map_y = np.repeat((60 / (up + 0.06) + scene.sky.drift[1]) % 512, camera.width_px, 1)
    thick = cv2.remap(
        texture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    opacity = np.clip((thick - 0.78 + 0.62 * state.cover) * 3.2, 0, 1) * np.clip(
        up * 9 + 0.25, 0, 1
    )
    shade = (1.1 - 0.32 * thick)[..., None] * np.float32(state.cloud)
    return sky + (shade - sky) * (0.9 * opacity)[..., None]


def _snowed(scene: StreetScene, geometry: Geometry, albedo: np.ndarray, snow: float) -> np.ndarray:
    """Snow settles on what faces up; traffic clears the wheel tracks, trees carry little."""
    buffer, road = geometry.buffer, scene.road
    rng = np.random.default_rng((scene.seed, 5))
    label, s, t = buffer.label, geometry.ground_s, geometry.ground_t
    patches = textures.noise(70 + scene.seed % 3, 512, 6, 8)
    height, width = label.shape
    on_ground = _on_ground(label)
    grain = patches[(s * 24).astype(np.int32) & 511, (t * 24).astype(np.int32) & 511]
    traffic = rng.uniform(0.25, 0.85)
    lane = (road.half_width - (2.2 if road.parking else 0.3)) / road.lanes
    wheel = np.abs(np.abs(((t + 40 * lane) % lane) - lane / 2) - 0.78)
    tracks = traffic * np.clip(1.5 - wheel / 0.3, 0, 1) * (np.abs(t) < road.lanes * lane)
    resistance = np.where(label == ROAD, 0.25 + 0.75 * tracks, 0.04)
    up = np.clip(buffer.normals[:, 1], 0, 1)
    rows = (np.arange(height) * 7) & 511
    columns = (np.arange(width) * 7) & 511
    screen = patches[rows[:, None], columns[None]]
    hold = np.zeros(256, np.float32)
    hold[[VEGETATION, BUILDING, CAR]] = 0.4, 1.0, 0.9
    hold = hold[buffer.classes]
    standing = (up**1.5 * hold)[buffer.face]
    light = albedo.mean(2)
    standing = standing * np.where(label == VEGETATION, 0.4 + 6 * light, 1.0)
    level = np.where(on_ground, 1.25 - resistance, 1.15 * standing)
    noise = np.where(on_ground, 0.5 * grain, 0.35 * screen)
    cover = np.clip((snow * level * 1.5 - noise) * 2.2, 0, 1) * np.minimum(1, 3 * level)
    cover = np.clip(cover * np.minimum(1.0, 4 * snow), 0, 0.96)[..., None]
    white = (
        np.float32((0.80, 0.83, 0.87))
        * (0.82 + 0.22 * np.where(on_ground, grain, screen))[..., None]
    )
    slush = np.where((label == ROAD)[..., None], 0.72, 1.0).astype(np.float32)
    return (
        albedo * (1 - 0.25 * min(1.0, snow) * on_ground[..., None]) * (1 - cover)
        + white * slush * cover
    ).astype(np.float32)


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
    label = buffer.label[top:]
    s, t = geometry.ground_s[top:], geometry.ground_t[top:]
    ripple = textures.noise(80, 512, 5, 16)[
        (s * 40).astype(np.int32) & 511, (t * 90).astype(np.int32) & 511
    ]
    depth = (rows - camera.horizon) / (camera.height * camera.focal)
    steep = np.clip(depth * 60, 0.15, 1.0)
    ripple = (ripple - 0.5) * np.float32(0.09 * camera.height_px) * steep
    source = np.broadcast_to(2 * camera.horizon - rows, ripple.shape)
    column = np.broadcast_to(columns, ripple.shape).astype(int)
    far = np.minimum(buffer.depth, 1e4)
    for _ in range(2):
        row = np.clip(source, 0, camera.height_px - 1).astype(int)
        foot = camera.horizon + camera.focal * camera.height / far[row, column]
        source = 2 * foot - rows
    map_y = np.clip(source + ripple, 0, camera.height_px - 1).astype(np.float32)
    map_x = (columns + 0.3 * ripple).astype(np.float32)
    smooth = cv2.blur(radiance, (3, max(3, camera.height_px // 12) | 1))
    mirrored = cv2.remap(smooth, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Schlick's approximation for water.
    cosine = depth * camera.height * camera.height
    distance = camera.height / np.maximum(depth * camera.height, 1e-6)
    cosine = np.clip(camera.height / np.maximum(distance, camera.height), 0, 1)
    fresnel = 0.02 + 0.98 * (1 - cosine) ** 5
    puddle = textures.noise(81 + scene.seed % 4, 512, 5, 4)[
        (s * 14).astype(np.int32) & 511, (t * 22).astype(np.int32) & 511
    ]
    film = np.clip(0.25 + 2.2 * (puddle - 0.5), 0.12, 0.75)
    share = np.clip(fresnel * film, 0, 1) * (label <= SIDEWALK) * state.wet
    share = (share * (1 - 0.9 * state.snow))[..., None].astype(np.float32)
    result = radiance.copy()
    result[top:] += (mirrored - radiance[top:]) * share
    return result
