"""From a scene to what each pixel sees: ground, frontages, things, painted back to front.

Shapes: ``H W`` image. Units: metres, radians; see ``raster`` and ``scene`` for the frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from street_world.street import textures, vehicles
from street_world.street.classes import (
    BICYCLE,
    BUILDING,
    BUS,
    CAR,
    FENCE,
    MOTORCYCLE,
    PERSON,
    POLE,
    RIDER,
    ROAD,
    SIDEWALK,
    TERRAIN,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    TRAIN,
    TRUCK,
    VEGETATION,
    WALL,
)
from street_world.street.ground import fill_hulls, fill_lines
from street_world.street.planes import fraction, row_of, sample, threefold
from street_world.street.raster import GBuffer, Painter, Texture
from street_world.street.scene import Frontage, StreetScene, Thing

Colour = tuple[int, int, int]
Outline = Sequence[tuple[float, float]]
_UP = (0.0, 1.0, 0.0)
FAR = 140.0  # metres; beyond it stands the backdrop


@dataclass(frozen=True)
class Caster:
    """Something that throws a shadow: its outline on the ground, from which height to which."""

    outline: np.ndarray
    bottom: float
    top: float
    is_building: bool


@dataclass(frozen=True)
class Lamp:
    """A source of light at night: position in camera coordinates, colour, power."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    power: float


@dataclass
class Geometry:
    """A scene's G-buffer and what light and weather need beside it.

    ``ground_s``, ``ground_t`` (H, W) float32: road coordinates of the ground in each pixel's
    direction, 0 above the horizon. ``contact`` (H, W) float32 in [0, 1]: how much sky things near
    by hide from the ground.
    """

    buffer: GBuffer
    casters: list[Caster]
    lamps: list[Lamp]
    ground_s: np.ndarray
    ground_t: np.ndarray
    contact: np.ndarray


def build(scene: StreetScene) -> Geometry:
    """Paint the scene."""
    painter = Painter(scene.camera)
    s, t = _ground_position(scene)
    _paint_ground(painter, scene, s, t)
    _paint_backdrop(painter, scene)
    casters: list[Caster] = []
    lamps: list[Lamp] = []
    order = [(front.end, front) for front in scene.frontages if front.end > 0.5]
    order += [(thing.s, thing) for thing in scene.things if thing.s > 1.0]
    order.sort(key=lambda pair: -pair[0])
    number = {id(thing): index for index, thing in enumerate(scene.things)}
    for _, item in order:
        if isinstance(item, Frontage):
            _paint_frontage(painter, scene, item, casters)
        else:
            painter.stand(scene.road.point(item.s, item.t), thing=number[id(item)])
            _THINGS[item.kind](painter, scene, item, casters, lamps)
            painter.stand()
    contact = _contact(scene, casters)
    if scene.look.bonnet:
        _paint_bonnet(painter, scene)
    return Geometry(painter.finish(), casters, lamps, s, t, contact)


# ---------------------------------------------------------------------------------------- ground


def _ground_position(scene: StreetScene) -> tuple[np.ndarray, np.ndarray]:
    camera = scene.camera
    rows = np.arange(camera.height_px, dtype=np.float32)[:, None] + 0.5
    columns = np.arange(camera.width_px, dtype=np.float32)[None] + 0.5
    below = rows > camera.horizon + 0.25
    z = np.where(below, camera.focal * camera.height / np.maximum(rows - camera.horizon, 0.25), 0)
    x = (columns - camera.centre) / np.float32(camera.focal) * z
    return scene.road.ground(x.astype(np.float32), z.astype(np.float32))


def _paint_ground(painter: Painter, scene: StreetScene, s: np.ndarray, t: np.ndarray) -> None:
    """Road, pavements, verges and their markings; all in the plane y = 0."""
    road, camera = scene.road, scene.camera
    top = int(np.floor(camera.horizon + 0.75))
    s, t = s[top:], t[top:]
    side_street = np.zeros(s.shape, bool)
    if road.crossing:
        side_street = (s > road.crossing[0]) & (s < road.crossing[1])
    distance = np.where(t < 0, -t, t) - road.half_width
    walk = np.where(t < 0, *(np.float32(width) for width in road.walk))
    verge = np.where(t < 0, *(np.float32(width) for width in road.verge))
    is_road = (distance < 0) | side_street
    is_verge = ~is_road & (distance < verge)
    beyond = distance > walk + verge
    is_terrain = is_verge | (beyond & ~is_road & (scene.layout in _GREEN))
    faces = [
        painter.add_face(np.zeros(3), np.array(_UP), label) for label in (ROAD, SIDEWALK, TERRAIN)
    ]
    painter.face[top:] = np.where(is_road, faces[0], np.where(is_terrain, faces[2], faces[1]))
    footprint = _footprint(scene, top)
    ground = _textured(textures.asphalt(road.texture % 4), s, t, 6.0, footprint)
    if not is_road.all():
        paved = _textured(textures.paving(road.texture), s, t, 4.0, footprint)
        cv2.copyTo(paved, (~is_road).view(np.uint8), ground)
    if is_terrain.any():
        green = _textured(textures.grass(road.texture % 3), s, t, 5.0, footprint)
        cv2.copyTo(green, is_terrain.view(np.uint8), ground)
    if road.parking:
        parked = (distance > -2.2) & (distance < 0) & ~side_street
        ground *= threefold(1 - np.float32(0.14) * parked)
    kerb = _stripe(distance - 0.08, 0.08, footprint) * ~side_street
    gutter = _stripe(distance + 0.15, 0.15, footprint) * ~side_street
    ground += threefold(kerb * 32 - gutter * 22)
    marks = _markings(scene, s, t, footprint) * ~((distance > -0.05) & ~side_street)
    marks *= 0.55 + 0.4 * sample(textures.noise(60 + road.texture, 256), s * 20, t * 20)
    ground += (row_of((214, 214, 208), camera.width_px) - ground) * threefold(marks)
    painter.albedo[top:] = np.clip(ground, 0, 255)


_GREEN = ("residential street", "green outskirts")


def _footprint(scene: StreetScene, top: int) -> np.ndarray:
    """Metres of ground across (not along) that one pixel covers, (rows, 1)."""
    rows = np.arange(top, scene.camera.height_px, dtype=np.float32) + 0.5
    depth = scene.camera.height / np.maximum(rows - scene.camera.horizon, 0.25)
    return depth[:, None]


def _textured(
    texture: np.ndarray, s: np.ndarray, t: np.ndarray, period: float, footprint: np.ndarray
) -> np.ndarray:
    """Look the texture up once per ``period`` metres; far away its mean replaces the detail."""
    scale = np.float32(texture.shape[0] / period)
    mapped = cv2.remap(
        texture,
        fraction(t * scale, texture.shape[1]),
        fraction(s * scale, texture.shape[0]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    # Along the road a pixel covers far more than across: fade early.
    keep = np.clip(1.2 - footprint * scale * 0.45, 0.0, 1.0)[..., None]
    mean = row_of(_mean_colour(texture), s.shape[1])
    result = mapped - mean
    result *= keep
    result += mean
    return result


def _mean_colour(texture: np.ndarray) -> tuple[float, ...]:
    return cv2.mean(texture)[:3]


def _stripe(offset: np.ndarray, half: float, footprint: np.ndarray) -> np.ndarray:
    """Share of each pixel covered by |offset| < half, for offsets across the road."""
    covered = np.minimum(offset + half, half - offset) / footprint + 0.5
    return np.clip(covered, 0, np.minimum(1.0, 2 * half / footprint))


def _markings(
    scene: StreetScene, s: np.ndarray, t: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """Coverage of white paint: middle line, lane lines, edge lines, stop line, zebra."""
    road, rng = scene.road, np.random.default_rng((scene.seed, 2))
    lane = (road.half_width - (2.2 if road.parking else 0.3)) / road.lanes
    style = rng.random()
    marks = np.zeros_like(s)
    dash = fraction(s + np.float32(rng.uniform(0, 9)), 9.0) < 3.5
    near_crossing = np.zeros(s.shape, bool)
    if road.crossing:
        near_crossing = (s > road.crossing[0] - 9) & (s < road.crossing[1] + 9)
    if style > 0.15:
        middle = _stripe(t, 0.07, footprint)
        marks = middle * (dash | near_crossing | (style > 0.75))
    for index in range(1, road.lanes):
        for sign in (-1, 1):
            marks = np.maximum(marks, _stripe(t - sign * index * lane, 0.07, footprint) * dash)
    if road.parking or style > 0.5:
        for sign in (-1, 1):
            edge = _stripe(t - sign * road.lanes * lane, 0.06, footprint)
            marks = np.maximum(marks, edge * (0.9 if style > 0.5 else 0.0))
    if road.crossing:
        start, end = road.crossing
        marks = marks * ~((s > start - 4.5) & (s < end + 4.5))
        stop = (np.abs(s - (start - 5.2)) < 0.22) & (t > 0) & (t < road.lanes * lane)
        marks = np.maximum(marks, stop)
        if rng.random() < 0.7:
            zebra = ((s > start - 4.2) & (s < start - 1.2)) | ((s > end + 1.2) & (s < end + 4.2))
            stripes = _stripe(fraction(t, 1.0) - 0.5, 0.25, footprint)
            marks = np.maximum(marks, zebra * stripes * (np.abs(t) < road.half_width - 0.2))
    return marks


def _paint_backdrop(painter: Painter, scene: StreetScene) -> None:
    """What closes the view: far woods and roofs."""
    rng = np.random.default_rng((scene.seed, 3))
    height, width = rng.uniform(8, 16), 300.0
    texture = textures.woods(int(rng.integers(4)))
    haze = (0.95, 1.0, 1.15)
    painter.wall(
        (-width, FAR + 40), (width, FAR + 40), -3.0, height, texture, VEGETATION,
        scale=(80.0, height + 3), offset=(rng.uniform(0, 1), 0.0), tint=haze,
        normal=(0, 0.6, -0.8),
    )  # fmt: skip
    if scene.layout not in _GREEN:
        x = -100.0
        while x < 100:
            wide, tall = rng.uniform(12, 30), rng.uniform(8, 24)
            painter.wall(
                (x, FAR), (x + wide, FAR), -1.0, tall,
                textures.facade(int(rng.integers(textures.NUM_FACADES))), BUILDING,
                scale=(16.0, 12.8), tint=(1.0, 1.02, 1.06),
            )  # fmt: skip
            x += wide * rng.uniform(0.9, 1.5)


# ------------------------------------------------------------------------------------- frontages


def _paint_frontage(
    painter: Painter, scene: StreetScene, front: Frontage, casters: list[Caster]
) -> None:
    road = scene.road
    across = road.edge(front.side)
    street = 2 * road.half_width + sum(road.walk) + sum(road.verge)
    painter.stand(opposite=(13.0 if scene.layout not in _GREEN else 7.0, street))
    t = across + front.side * front.setback
    a, b = road.point(front.start, t), road.point(front.end, t)
    if front.kind in ("house", "block", "shop"):
        _paint_building(painter, scene, front, t, casters)
    elif front.kind == "park":
        deep = (
            road.point(front.start, t + front.side * 14),
            road.point(front.end, t + front.side * 14),
        )
        for (left, right), tall in ((deep, front.height), ((a, b), 0.45 * front.height)):
            painter.wall(
                left, right, 0.0, tall, textures.woods(front.variant % 4), VEGETATION,
                scale=(0.9 * 4 * tall, tall), offset=(front.variant / 7 % 1, 0.0),
                normal=(-0.3 * front.side, 0.75, -0.6), tint=_season(scene, front.variant),
            )  # fmt: skip
    elif front.kind != "gap":
        texture, label, period = {
            "wall": (textures.masonry(front.variant % 6), WALL, 3.2),
            "fence": (textures.fence(front.variant % 4), FENCE, 2.0 * front.height),
            "hedge": (textures.hedge(front.variant % 4), VEGETATION, 4.0 * front.height),
        }[front.kind]
        tall = 1.6 if front.kind == "wall" else front.height
        tint = _season(scene, front.variant) if front.kind == "hedge" else None
        painter.wall(a, b, 0.0, front.height, texture, label, scale=(period, tall), tint=tint)
        if front.kind != "fence":
            casters.append(Caster(np.array((a, b)), 0.0, front.height, False))
    painter.stand()


def _paint_building(
    painter: Painter, scene: StreetScene, front: Frontage, t: float, casters: list[Caster]
) -> None:
    """Street front, the gable towards us, a roof where the house has a pitched one."""
    road, rng = scene.road, np.random.default_rng((scene.seed, 4, front.variant))
    side, deep = front.side, 9.0 + 4 * rng.random()
    corners = [
        road.point(front.start, t), road.point(front.end, t),
        road.point(front.end, t + side * deep), road.point(front.start, t + side * deep),
    ]  # fmt: skip
    texture = textures.facade(int(rng.integers(textures.NUM_FACADES)))
    tone = tuple(np.clip(rng.normal(1.0, 0.08) + rng.normal(0, 0.03, 3), 0.75, 1.2))
    ground_floor = 3.4 if front.kind == "shop" else 0.0
    scale = (16.0 * rng.uniform(0.85, 1.3), 12.8 * (0.94 if front.kind == "house" else 1.0))
    offset = (float(rng.integers(6)) / 6, 0.0)
    walls = [(corners[3], corners[0]), (corners[0], corners[1])]
    if side > 0:
        walls[1] = (corners[1], corners[0])
    for index, (a, b) in enumerate(walls):
        painter.wall(
            a,
            b,
            ground_floor,
            front.height,
            texture,
            BUILDING,
            scale=scale,
            offset=offset,
            tint=tone,
        )
        if ground_floor:
            shop = textures.shopfront(front.variant % 6) if index else textures.masonry(1)
            painter.wall(a, b, 0.0, ground_floor, shop, BUILDING, scale=(14.0, ground_floor))
    roof = ((96, 58, 46), (74, 70, 70), (88, 66, 56), (62, 62, 66))[front.variant % 4]
    pitched = front.kind == "house" or front.variant % 3 == 0
    ridge = front.height + (0.32 * deep if pitched else 0.5)
    if pitched:
        middle = [
            road.point(front.start, t + side * deep / 2), road.point(front.end, t + side * deep / 2)
        ]  # fmt: skip
        eaves = [_lift(corners[0], front.height), _lift(corners[1], front.height)]
        peak = [_lift(middle[0], ridge), _lift(middle[1], ridge)]
        centre = _lift(((middle[0][0] + middle[1][0]) / 2, (middle[0][1] + middle[1][1]) / 2), 1.0)
        gable = np.array((eaves[0], peak[0], _lift(corners[3], front.height)))
        plaster = tuple(int(value) for value in cv2.mean(texture.colours[0])[:3])
        painter.polygon(gable, plaster, BUILDING, centre=centre)
        painter.polygon(np.array((*eaves, peak[1], peak[0])), roof, BUILDING, centre=centre)
    else:  # cornice
        for a, b in walls:
            painter.wall(
                a,
                b,
                front.height,
                front.height + 0.5,
                textures.masonry(1),
                BUILDING,
                scale=(4.0, 2.0),
            )
    casters.append(Caster(np.array(corners), 0.0, ridge, True))


def _lift(point: tuple[float, float], height: float) -> np.ndarray:
    return np.array((point[0], height, point[1]))


def _season(scene: StreetScene, variant: int) -> tuple[float, float, float]:
    """Factor on the colours of leaves."""
    shade = 0.85 + 0.3 * ((variant * 2654435761) % 1024) / 1024
    tints = {"summer": (1.0, 1.0, 1.0), "spring": (1.12, 1.16, 0.95), "autumn": (1.5, 1.02, 0.62)}
    red = 1.0 if scene.season != "autumn" else 0.75 + 0.35 * (variant % 7) / 7
    base = tints[scene.season]
    return (base[0] * shade * red, base[1] * shade, base[2] * shade)


# ---------------------------------------------------------------------------------------- things


def _axes(scene: StreetScene, thing: Thing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origin on the ground, unit vectors to the thing's right and forward, in 3D."""
    x, z = scene.road.point(thing.s, thing.t)
    angle = scene.road.heading(thing.s) + thing.heading
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array((x, 0.0, z)), np.array((cos, 0.0, -sin)), np.array((sin, 0.0, cos))


def _paint_vehicle(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    if thing.kind in ("car", "van"):
        shape = 4 if thing.kind == "van" else (0, 1, 2, 3, 0, 2)[thing.variant % 6]
        body, label = vehicles.car_body(shape), CAR
    else:
        body = vehicles.long_body(thing.kind)
        label = {"truck": TRUCK, "bus": BUS, "tram": TRAIN}[thing.kind]
    origin, right, forward = _axes(scene, thing)
    frame = np.stack((right, np.array((0.0, 1.0, 0.0)), forward)) * thing.size
    corners = body.quads @ frame + origin
    if corners[..., 2].max() < 1.0:
        return
    normals = body.normals @ frame / thing.size
    colours = _vehicle_colours(thing)
    glows = {vehicles.TAIL: (190, 22, 14), vehicles.HEAD: (255, 246, 224)}
    if thing.kind in ("bus", "tram"):
        glows[vehicles.GLASS] = (128, 120, 96)
    if scene.road.parking and abs(thing.t) > scene.road.half_width - 1.6:
        glows = {}  # parked
    roles = body.roles.tolist()
    painter.mesh(
        corners,
        normals,
        [colours[role] for role in roles],
        [glows.get(role) for role in roles],
        label,
    )
    half, end = body.width / 2 * thing.size, body.length / 2 * thing.size
    outline = [
        origin + i * half * right + j * end * forward
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    casters.append(
        Caster(np.array(outline)[:, [0, 2]], 0.0, body.height * thing.size * 0.95, False)
    )


def _vehicle_colours(thing: Thing) -> dict[int, Colour]:
    paint = thing.colour
    if thing.kind == "bus":
        paint = ((208, 168, 36), (196, 40, 38), (222, 222, 218), (38, 84, 150))[thing.variant % 4]
    if thing.kind == "tram":
        paint = ((222, 208, 120), (198, 40, 40), (230, 230, 226), (36, 110, 96))[thing.variant % 4]
    load = ((206, 206, 202), (170, 172, 174), (60, 84, 128), (168, 120, 60))[thing.variant % 4]
    return {
        vehicles.BODY: paint, vehicles.GLASS: (34, 42, 50), vehicles.DARK: (24, 24, 26),
        vehicles.TYRE: (20, 20, 21), vehicles.RIM: (112, 114, 118), vehicles.TAIL: (150, 18, 18),
        vehicles.HEAD: (206, 210, 214), vehicles.PLATE: (214, 214, 206),
        vehicles.STRIPE: tuple(int(value * 0.55) for value in paint), vehicles.LOAD: load,
    }  # fmt: skip


def _billboard(
    painter: Painter,
    scene: StreetScene,
    thing: Thing,
    texture: Texture,
    label: int,
    size: tuple[float, float],
    bottom: float = 0.0,
    flip: bool = False,
    shift: float = 0.0,
    tint: tuple[float, float, float] | None = None,
    leafy: bool = False,
) -> None:
    """A sprite ``size`` (wide, high) metres that faces the camera; ``shift`` nearer to it."""
    x, z = scene.road.point(thing.s, thing.t)
    z -= shift
    if z < 1.5:
        return
    half = size[0] / 2 * (-1 if flip else 1)
    normal = (0.0, 0.65, -0.76) if leafy else (0.25, 0.3, -0.92)
    painter.wall(
        (x - half, z),
        (x + half, z),
        bottom,
        bottom + size[1],
        texture,
        label,
        tint=tint,
        normal=normal,
    )


def _paint_person(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    tall = 1.75 * thing.size
    texture = textures.person(thing.variant % textures.NUM_PEOPLE)
    flip = bool(thing.variant & 64)
    _billboard(painter, scene, thing, texture, PERSON, (0.42 * tall, tall), flip=flip)
    _thin_shadow(scene, thing, casters, 0.28, tall)


def _paint_two_wheeler(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    motor = thing.kind in ("motorcycle", "motorcyclist")
    side_on = bool(abs(np.sin(thing.heading)) > 0.5)
    style, flip = thing.variant % 8, bool(thing.variant & 64)
    size = (1.8 * thing.size, 1.8 * thing.size)
    label = MOTORCYCLE if motor else BICYCLE
    vehicle = textures.two_wheeler(style, motor, side_on, "vehicle")
    _billboard(painter, scene, thing, vehicle, label, size, flip=flip)
    if thing.kind in ("cyclist", "motorcyclist"):
        rider = textures.two_wheeler(style, motor, side_on, "rider")
        _billboard(painter, scene, thing, rider, RIDER, size, flip=flip, shift=0.05)
    _thin_shadow(scene, thing, casters, 0.4, 1.5)


def _thin_shadow(
    scene: StreetScene, thing: Thing, casters: list[Caster], width: float, tall: float
) -> None:
    x, z = scene.road.point(thing.s, thing.t)
    half = width / 2
    outline = np.array(
        ((x - half, z - half), (x + half, z - half), (x + half, z + half), (x - half, z + half))
    )
    casters.append(Caster(outline, 0.0, tall, False))


def _paint_tree(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    tall, crown = 8.5 * thing.size, 5.6 * thing.size
    x, z = scene.road.point(thing.s, thing.t)
    if z < 2.0:
        return
    trunk = 0.16 * thing.size
    bark = ((74, 62, 52), (92, 82, 72), (62, 54, 46))[thing.variant % 3]
    base = tall - crown * 0.95
    _post(painter, (x, z), trunk, 0.0, base + 0.3 * crown, bark, VEGETATION)
    texture = textures.tree(thing.variant % textures.NUM_TREES)
    tint = _season(scene, thing.variant)
    flip = bool(thing.variant & 128)
    _billboard(
        painter,
        scene,
        thing,
        texture,
        VEGETATION,
        (crown, crown),
        base,
        flip,
        tint=tint,
        leafy=True,
    )
    other = textures.tree((thing.variant + 3) % textures.NUM_TREES)
    small = 0.72 * crown
    _billboard(
        painter, scene, thing, other, VEGETATION, (small, small), base + 0.05 * crown, not flip,
        shift=min(0.25 * crown, z - 2), tint=tint, leafy=True,
    )  # fmt: skip
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    ring = np.stack((x + 0.42 * crown * np.cos(angles), z + 0.42 * crown * np.sin(angles)), 1)
    casters.append(Caster(ring, base + 0.25 * crown, base + 0.75 * crown, False))
    _thin_shadow(scene, thing, casters, 0.3 * thing.size, base + 0.4 * crown)


def _paint_bush(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    size = 1.9 * thing.size
    texture = textures.tree((thing.variant + 5) % textures.NUM_TREES)
    _billboard(
        painter, scene, thing, texture, VEGETATION, (1.3 * size, size), -0.15 * size,
        tint=_season(scene, thing.variant), leafy=True,
    )  # fmt: skip
    _thin_shadow(scene, thing, casters, size, 0.6 * size)


def _post(
    painter: Painter, at: tuple[float, float], width: float, bottom: float, top: float,
    colour: Colour, label: int = POLE, glow: Colour | None = None,
) -> None:  # fmt: skip
    """An upright post: a strip with a lighter half, as on a round shaft."""
    x, z = at
    half = width / 2
    for left, right, factor in ((-half, half, 0.8), (-half, -0.1 * half, 1.15)):
        shade = tuple(int(min(255, value * factor)) for value in colour)
        painter.facing(_board(x + left, bottom, x + right, top), z, shade, label, glow)


def _paint_lamp(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    x, z = scene.road.point(thing.s, thing.t)
    if z < 2.0:
        return
    tall = 7.2 * thing.size
    grey = ((88, 92, 94), (120, 122, 122), (62, 72, 66))[scene.seed % 3]
    _post(painter, (x, z), 0.14, 0.0, tall, grey)
    reach = -np.sign(thing.t) * 1.5
    tip = x + reach
    arm = ((x, tall - 0.08), (tip, tall + 0.12), (tip, tall + 0.2), (x, tall + 0.04))
    painter.facing(arm, z, grey, POLE)
    low, high = tall + 0.06, tall + 0.22
    head = ((tip - 0.35, low), (tip + 0.35, low), (tip + 0.28, high), (tip - 0.28, high))
    warm = ((255, 206, 140), (255, 236, 206), (255, 184, 104))[scene.seed % 3]
    painter.facing(head, z, (196, 196, 190), POLE, warm)
    lamps.append(Lamp((float(tip), float(tall), float(z)), tuple(v / 255 for v in warm), 1.0))
    _thin_shadow(scene, thing, casters, 0.16, tall)


@lru_cache(maxsize=16)
def _circle(corners: int, turn: float) -> tuple[tuple[float, float], ...]:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return tuple(zip(np.cos(angles).tolist(), np.sin(angles).tolist(), strict=True))


def _disc(x: float, y: float, radius: float, corners: int = 12, turn: float = 0.0) -> Outline:
    return [(x + radius * cos, y + radius * sin) for cos, sin in _circle(corners, turn)]


def _paint_sign(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    x, z = scene.road.point(thing.s, thing.t)
    if z < 2.0:
        return
    y = 2.35 * thing.size
    _post(painter, (x, z), 0.075, 0.0, y + 0.3, (132, 134, 136))
    style, radius = thing.variant % 6, 0.34 * thing.size
    red, white, blue, yellow = (186, 30, 34), (226, 226, 222), (34, 78, 158), (226, 178, 40)
    if style == 0:
        parts = ((12, 0.0, radius, red), (12, 0.0, 0.72 * radius, white))
    elif style == 1:
        parts = ((3, np.pi / 2, 1.2 * radius, red), (3, np.pi / 2, 0.72 * radius, white))
    elif style == 2:
        parts = ((12, 0.0, radius, blue), (4, np.pi / 4, 0.4 * radius, white))
    elif style == 3:
        parts = ((4, np.pi / 4, 1.3 * radius, blue), (4, np.pi / 4, 0.7 * radius, white))
    elif style == 4:
        parts = ((4, 0.0, 1.15 * radius, white), (4, 0.0, 0.85 * radius, yellow))
    else:
        _direction_sign(painter, (x, z - 0.02), y, (yellow, white, blue)[thing.variant % 3])
        return
    for corners, turn, size, colour in parts:
        painter.facing(_disc(x, y, size, corners, turn), z - 0.02, colour, TRAFFIC_SIGN)
    _thin_shadow(scene, thing, casters, 0.2, y)


def _board(x0: float, y0: float, x1: float, y1: float) -> Outline:
    """The corners of an upright rectangle."""
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _direction_sign(painter: Painter, at: tuple[float, float], y: float, colour: Colour) -> None:
    x, z = at
    for row, wide in enumerate((0.8, 0.65)):
        low = y + 0.36 * row - 0.2
        painter.facing(_board(x - wide, low, x + wide, low + 0.3), z, colour, TRAFFIC_SIGN)
        ink = (30, 30, 30) if sum(colour) > 400 else (230, 230, 230)
        for start in (-0.8, -0.2):
            left = x + start * wide
            line = _board(left, low + 0.1, left + 0.45 * wide, low + 0.2)
            painter.facing(line, z, ink, TRAFFIC_SIGN)


def _paint_signal(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    x, z = scene.road.point(thing.s, thing.t)
    if z < 2.0:
        return
    grey = (96, 100, 98)
    overhead = thing.t > 0 and thing.variant % 2 == 0
    state = scene.seed % 3  # red, amber, green: one state for the whole crossing
    _post(painter, (x, z), 0.14, 0.0, 5.6 if overhead else 2.4, grey)
    heads = [(x, 2.75)]
    if overhead:
        tip = x - 3.4
        painter.facing(((tip, 5.45), (x, 5.35), (x, 5.5), (tip, 5.55)), z, grey, POLE)
        heads.append((tip, 5.3))
    for hx, hy in heads:
        box = _board(hx - 0.19, hy - 0.5, hx + 0.19, hy + 0.5)
        painter.facing(box, z - 0.1, (28, 30, 30), TRAFFIC_LIGHT)
        for index, colour in enumerate(((255, 44, 30), (255, 176, 40), (60, 255, 150))):
            lit = index == state
            dim = colour if lit else tuple(int(value * 0.16) for value in colour)
            lens = _disc(hx, hy + 0.31 - 0.31 * index, 0.115, 10)
            painter.facing(lens, z - 0.12, dim, TRAFFIC_LIGHT, colour if lit else None)
    _thin_shadow(scene, thing, casters, 0.2, 3.0)


def _paint_post(
    painter: Painter, scene: StreetScene, thing: Thing, casters: list[Caster], lamps: list[Lamp]
) -> None:
    x, z = scene.road.point(thing.s, thing.t)
    if z > 2.0:
        _post(painter, (x, z), 0.11, 0.0, 0.95, (70, 72, 74))
        _thin_shadow(scene, thing, casters, 0.12, 0.95)


_THINGS = {
    **dict.fromkeys(("car", "van", "truck", "bus", "tram"), _paint_vehicle),
    **dict.fromkeys(("cyclist", "motorcyclist", "bicycle", "motorcycle"), _paint_two_wheeler),
    "person": _paint_person, "tree": _paint_tree, "bush": _paint_bush, "lamp": _paint_lamp,
    "sign": _paint_sign, "signal": _paint_signal, "post": _paint_post,
}  # fmt: skip


def _contact(scene: StreetScene, casters: list[Caster]) -> np.ndarray:
    """Where low things keep the sky's light from the ground: soft dark patches beneath them."""
    camera = scene.camera
    mask = np.zeros((camera.height_px, camera.width_px), np.uint8)
    low = [caster.outline for caster in casters if not caster.is_building and caster.bottom == 0]
    fill_lines(mask, camera, [outline for outline in low if len(outline) == 2], 220)
    solid = [outline for outline in low if len(outline) == 4]
    if solid:
        fill_hulls(mask, camera, np.stack(solid), 220)
    return cv2.GaussianBlur(mask, (0, 0), 1.2 * camera.height_px / 256).astype(np.float32) / 255


def _paint_bonnet(painter: Painter, scene: StreetScene) -> None:
    camera, look = scene.camera, scene.look
    x = np.linspace(-0.05, 1.05, 24)
    y = 1 - look.bonnet * (1 - (2 * x - 1) ** 4)
    curve = np.stack((x * camera.width_px, y * camera.height_px), 1)
    low = [
        (1.05 * camera.width_px, 1.1 * camera.height_px),
        (-0.05 * camera.width_px, 1.1 * camera.height_px),
    ]
    paint = ((30, 31, 34), (70, 72, 76), (120, 124, 128))[scene.seed % 3]
    painter.bonnet(np.array([*curve, *low]), paint)
