"""What is in a street: sampled from a seed, before anything is drawn.

Units: metres and radians. Road frame: ``s`` along the road from the camera, ``t`` across it to the
right from the middle of the road. Traffic keeps to the right.
"""

from dataclasses import dataclass

import numpy as np

from street_world.street.raster import Camera


@dataclass(frozen=True)
class Road:
    """Cross-section and course of the road.

    ``half_width`` includes the parking lanes; ``lanes`` counts one direction; ``walk`` and
    ``verge`` are the widths of pavement and grass on the left and the right; ``bend`` is the
    curvature in 1/m; ``crossing`` the stretch of s that a side street takes, None if there is none.
    """

    half_width: float
    lanes: int
    parking: bool
    walk: tuple[float, float]
    verge: tuple[float, float]
    bend: float
    yaw: float
    camera_t: float
    crossing: tuple[float, float] | None
    tracks: bool
    texture: int

    def edge(self, side: int) -> float:
        """t of the building line, side -1 left or +1 right."""
        index = (side + 1) // 2
        return side * (self.half_width + self.walk[index] + self.verge[index])

    def point(self, s: float, t: float) -> tuple[float, float]:
        """(x, z) in camera coordinates of (s, t)."""
        across = t - self.camera_t + 0.5 * self.bend * s * s
        cos, sin = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        return across * cos + s * sin, s * cos - across * sin

    def heading(self, s: float) -> float:
        """Direction of the road at s: angle from the optical axis towards the right."""
        return self.yaw + float(np.arctan(self.bend * s))

    def ground(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(s, t) of points of the ground; the inverse of ``point``."""
        cos, sin = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        s = z * cos + x * sin
        return s, x * cos - z * sin + np.float32(self.camera_t) - np.float32(self.bend / 2) * s * s


@dataclass(frozen=True)
class Frontage:
    """One stretch of what lines a side of the street.

    ``kind``: house, block, shop, wall, fence, hedge, park or gap.
    """

    kind: str
    side: int
    start: float
    end: float
    setback: float
    height: float
    variant: int


@dataclass(frozen=True)
class Thing:
    """Something that stands or moves in the street.

    ``kind``: car, van, truck, bus, tram, person, cyclist, motorcyclist, bicycle, motorcycle,
    tree, bush, lamp, sign, signal or post. ``heading`` is relative to the road: 0 as we drive,
    pi towards us.
    """

    kind: str
    s: float
    t: float
    heading: float
    size: float
    variant: int
    colour: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Sky:
    """Sun and clouds on the clear day: azimuth to the right of the road's direction."""

    azimuth: float
    elevation: float
    clouds: float
    texture: int
    drift: tuple[float, float]


@dataclass(frozen=True)
class Look:
    """The camera's response: exposure, contrast, white balance, lens and sensor."""

    exposure: float
    saturation: float
    balance: tuple[float, float, float]
    vignette: float
    blur: float
    noise: float
    bonnet: float


@dataclass(frozen=True)
class StreetScene:
    """A whole scene. ``size`` is (height, width) in pixels; everything follows from ``seed``."""

    seed: int
    size: tuple[int, int]
    layout: str
    season: str
    camera: Camera
    road: Road
    sky: Sky
    look: Look
    frontages: tuple[Frontage, ...]
    things: tuple[Thing, ...]


# layout: share of scenes; lanes; walk; verge; kinds of frontage with their shares; storeys
_LAYOUTS = {
    "city street": dict(
        share=0.38, lanes=(1, 2), walk=(3.5, 7.0), verge=(0.0, 0.0), parking=0.45,
        fronts=dict(block=0.55, shop=0.32, gap=0.05, wall=0.05, fence=0.06), storeys=(4, 6),
    ),
    "avenue": dict(
        share=0.24, lanes=(1, 3), walk=(4.0, 8.0), verge=(0.0, 2.0), parking=0.3,
        fronts=dict(block=0.45, shop=0.15, park=0.15, gap=0.08, fence=0.10, hedge=0.07),
        storeys=(4, 7),
    ),
    "residential street": dict(
        share=0.24, lanes=(1, 1), walk=(2.2, 3.8), verge=(0.0, 1.8), parking=0.4,
        fronts=dict(house=0.5, block=0.1, hedge=0.14, fence=0.12, gap=0.06, wall=0.08),
        storeys=(2, 3),
    ),
    "green outskirts": dict(
        share=0.14, lanes=(1, 2), walk=(2.0, 3.2), verge=(0.5, 2.5), parking=0.1,
        fronts=dict(park=0.38, house=0.2, block=0.12, fence=0.12, hedge=0.08, wall=0.1),
        storeys=(2, 4),
    ),
}  # fmt: skip

_CAR_COLOURS = (
    (22, 23, 26), (58, 60, 64), (98, 101, 105), (152, 155, 158), (190, 192, 194), (226, 227, 226),
    (34, 48, 84), (60, 88, 132), (128, 26, 28), (74, 22, 28), (40, 62, 50), (150, 134, 104),
)  # fmt: skip


def sample_scene(seed: int, size: tuple[int, int] = (256, 512)) -> StreetScene:
    """Sample a street.

    Args:
        seed: Any non-negative integer; the same seed is the same scene at any size.
        size: (height, width) in pixels; both at least 32.

    Raises:
        ValueError: If the seed is negative or the size too small.
    """
    if seed < 0:
        raise ValueError(f"the seed is {seed}; expected a non-negative integer")
    if len(size) != 2 or min(size) < 32:
        raise ValueError(f"the size is {size}; expected (height, width), both at least 32")
    rng = np.random.default_rng((seed, 1))
    names = list(_LAYOUTS)
    layout = names[rng.choice(len(names), p=[_LAYOUTS[name]["share"] for name in names])]
    road = _sample_road(rng, _LAYOUTS[layout])
    frontages = _sample_frontages(rng, _LAYOUTS[layout], road)
    things = (
        *_sample_traffic(rng, road, layout),
        *_sample_people(rng, road, layout),
        *_sample_furniture(rng, road, layout, frontages),
    )
    return StreetScene(
        seed=seed,
        size=(int(size[0]), int(size[1])),
        layout=layout,
        season=("summer", "summer", "spring", "autumn")[rng.integers(4)],
        camera=_sample_camera(rng, size),
        road=road,
        sky=Sky(
            azimuth=rng.uniform(-np.pi, np.pi),
            elevation=rng.uniform(0.35, 1.0),
            clouds=rng.uniform(0.0, 1.0),
            texture=int(rng.integers(6)),
            drift=(rng.uniform(0, 512), rng.uniform(0, 512)),
        ),
        look=_sample_look(rng),
        frontages=frontages,
        things=tuple(thing for thing in things if not _in_crossing(thing, road)),
    )


def _sample_camera(rng: np.random.Generator, size: tuple[int, int]) -> Camera:
    """Near Cityscapes' camera: 1.1 widths of focal length, 1.2 m high, horizon above the middle."""
    height, width = size
    return Camera(
        height_px=int(height),
        width_px=int(width),
        focal=max(width, 1.6 * height) * rng.uniform(0.85, 1.15),
        centre=width * rng.uniform(0.47, 0.53),
        horizon=height * rng.uniform(0.36, 0.45),
        height=rng.uniform(1.15, 1.65),
    )


def _sample_look(rng: np.random.Generator) -> Look:
    warmth = rng.normal(0, 0.035)
    return Look(
        exposure=float(np.exp(rng.normal(0, 0.14))),
        saturation=rng.uniform(0.75, 1.05),
        balance=(1 + warmth, 1 + rng.normal(0.01, 0.012), 1 - warmth),
        vignette=rng.uniform(0.05, 0.28),
        blur=rng.uniform(0.3, 0.45),
        noise=rng.uniform(0.003, 0.009),
        bonnet=rng.uniform(0.04, 0.1) if rng.random() < 0.35 else 0.0,
    )


def _sample_road(rng: np.random.Generator, layout: dict) -> Road:
    lanes = int(rng.integers(layout["lanes"][0], layout["lanes"][1] + 1))
    parking = bool(rng.random() < layout["parking"])
    lane = rng.uniform(3.0, 3.5)
    half = lanes * lane + (2.2 if parking else 0.3)
    own = int(rng.integers(lanes))
    crossing = None
    if rng.random() < 0.42:
        start = rng.uniform(14, 60)
        crossing = (start, start + rng.uniform(8, 14))
    return Road(
        half_width=half,
        lanes=lanes,
        parking=parking,
        walk=tuple(rng.uniform(*layout["walk"], 2)),
        verge=tuple(rng.uniform(*layout["verge"], 2)),
        bend=float(rng.normal(0, 0.0012)) if rng.random() < 0.6 else 0.0,
        yaw=float(rng.normal(0, 0.035)),
        camera_t=(own + 0.5) * lane + rng.normal(0, 0.25),
        crossing=crossing,
        tracks=bool(lanes > 1 and rng.random() < 0.45),
        texture=int(rng.integers(8)),
    )


def _sample_frontages(rng: np.random.Generator, layout: dict, road: Road) -> tuple[Frontage, ...]:
    kinds = list(layout["fronts"])
    shares = np.array([layout["fronts"][kind] for kind in kinds])
    lengths = {
        "house": (9, 15), "block": (12, 28), "shop": (10, 22), "wall": (8, 22), "fence": (8, 26),
        "hedge": (7, 20), "park": (16, 45), "gap": (4, 9),
    }  # fmt: skip
    frontages = []
    for side in (-1, 1):
        at = rng.uniform(-8, 4)
        row_setback = rng.uniform(0, 1.5)
        storeys = int(rng.integers(layout["storeys"][0], layout["storeys"][1] + 1))
        while at < 130:
            kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
            end = at + rng.uniform(*lengths[kind])
            tall = max(2, storeys + int(rng.integers(-1, 2)))
            heights = {
                "house": 3.0 * min(tall, 3) - 0.6, "block": 3.2 * tall + 0.6,
                "shop": 3.2 * tall + 0.8, "wall": rng.uniform(1.6, 3.2),
                "fence": rng.uniform(1.0, 2.0), "hedge": rng.uniform(1.2, 2.6),
                "park": rng.uniform(6, 11), "gap": 0.0,
            }  # fmt: skip
            setback = rng.uniform(2, 6) if kind == "house" else row_setback * (kind == "block")
            cut = road.crossing
            if cut and at < cut[1] and end > cut[0]:
                end = cut[0] if at < cut[0] - 5 else end
                if end > cut[0]:
                    at = cut[1]
                    continue
            variant = int(rng.integers(1 << 16))
            frontages.append(Frontage(kind, side, at, end, setback, heights[kind], variant))
            if kind == "house" and rng.random() < 0.7:
                border = ("hedge", "fence", "wall")[rng.integers(3)]
                size = rng.uniform(0.7, 1.4)
                frontages.append(Frontage(border, side, at, end, 0.0, size, variant + 1))
            at = end + (rng.uniform(1.0, 5.0) if kind == "house" else 0.0)
    return tuple(frontages)


def _in_crossing(thing: Thing, road: Road) -> bool:
    """Whether something that belongs to the roadside stands in the side street."""
    if road.crossing is None or thing.kind in ("person", "signal", "tram", "truck", "bus"):
        return False
    start, end = road.crossing
    beyond = abs(thing.t) > road.half_width - (2.3 if road.parking else 0)
    return beyond and start - 2 < thing.s < end + 2


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    return _CAR_COLOURS[
        rng.choice(12, p=np.array((16, 13, 13, 13, 10, 12, 6, 4, 4, 3, 3, 3)) / 100)
    ]


def _vehicle(rng: np.random.Generator, kinds: dict[str, float]) -> str:
    names = list(kinds)
    shares = np.array(list(kinds.values()))
    return names[rng.choice(len(names), p=shares / shares.sum())]


def _sample_traffic(rng: np.random.Generator, road: Road, layout: str) -> list[Thing]:
    """Moving vehicles lane by lane, then the parked ones."""
    lane = (road.half_width - (2.2 if road.parking else 0.3)) / road.lanes
    kinds = {
        "car": 1.0, "van": 0.13, "truck": 0.02, "bus": 0.035, "cyclist": 0.16, "motorcyclist": 0.07,
    }  # fmt: skip
    density = rng.uniform(0.1, 0.8)
    things = []
    for direction in (1, -1):
        for index in range(road.lanes):
            t = direction * (index + 0.5) * lane
            own = abs(t - road.camera_t) < 0.6 * lane
            at = rng.uniform(9, 30) if own else rng.uniform(4, 35)
            while at < 130:
                if rng.random() < density:
                    kind = _vehicle(rng, kinds)
                    if road.tracks and index == 0 and rng.random() < 0.3:
                        kind = "tram"
                    if kind in ("truck", "bus", "tram") and at < 16:
                        at += 12
                    across = t + rng.normal(0, 0.18)
                    if kind == "cyclist":
                        across = direction * (road.lanes * lane - 0.6)
                    heading = (0.0 if direction > 0 else np.pi) + rng.normal(0, 0.02)
                    things.append(
                        Thing(kind, at, across, heading, rng.uniform(0.94, 1.08),
                              int(rng.integers(1 << 16)), _colour(rng))
                    )  # fmt: skip
                    at += 14 if kind in ("tram", "bus", "truck") else 5
                at += rng.uniform(5, 30)
    if road.parking:
        things += _sample_parked(rng, road)
    return things


def _sample_parked(rng: np.random.Generator, road: Road) -> list[Thing]:
    things = []
    fullness = rng.uniform(0.25, 0.95)
    for side in (-1, 1):
        at = rng.uniform(4.5, 9)
        while at < 80:
            if rng.random() < fullness:
                kind = _vehicle(
                    rng,
                    {"car": 1.0, "van": 0.1, "truck": 0.015, "motorcycle": 0.03, "bicycle": 0.02},
                )
                heading = 0.0 if (side > 0) == (rng.random() < 0.9) else np.pi
                if kind in ("motorcycle", "bicycle"):
                    heading = rng.uniform(0.3, 1.2)
                things.append(
                    Thing(kind, at, side * (road.half_width - 1.1), heading + rng.normal(0, 0.02),
                          rng.uniform(0.94, 1.08), int(rng.integers(1 << 16)), _colour(rng))
                )  # fmt: skip
            at += rng.uniform(5.2, 6.6)
    return things


def _sample_people(rng: np.random.Generator, road: Road, layout: str) -> list[Thing]:
    busy = {"city street": 8.0, "avenue": 7.0, "residential street": 3.0, "green outskirts": 2.0}
    things = []
    for _ in range(rng.poisson(busy[layout] * rng.uniform(0.5, 2.4))):
        side = rng.choice((-1, 1))
        index = (int(side) + 1) // 2
        s = 5 + 60 * rng.random() ** 1.4
        t = side * (road.half_width + rng.uniform(0.3, 0.9) * max(road.walk[index] - 0.3, 1.0))
        for member in range(1 + rng.binomial(2, 0.25)):
            things.append(
                Thing("person", s + rng.uniform(-0.4, 0.4), t + 0.6 * member, 0.0,
                      rng.uniform(0.88, 1.08) * (0.7 if rng.random() < 0.07 else 1.0),
                      int(rng.integers(1 << 16)))
            )  # fmt: skip
    if road.crossing and rng.random() < 0.5:
        for _ in range(rng.integers(1, 5)):
            t = rng.uniform(-road.half_width, road.half_width)
            s = road.crossing[0] - rng.uniform(1.0, 3.0)
            things.append(
                Thing("person", s, t, 0.0, rng.uniform(0.9, 1.06), int(rng.integers(1 << 16)))
            )
    for _ in range(rng.poisson(3.5)):
        side, kind = (
            rng.choice((-1, 1)),
            rng.choice(("bicycle", "cyclist", "bicycle", "motorcycle")),
        )
        t = side * (road.half_width + rng.uniform(0.5, 1.4))
        things.append(
            Thing(str(kind), rng.uniform(5, 40), t,
                  rng.choice((0.0, np.pi / 2)) + rng.normal(0, 0.2),
                  rng.uniform(0.95, 1.05), int(rng.integers(1 << 16)))
        )  # fmt: skip
    return things


def _sample_furniture(
    rng: np.random.Generator, road: Road, layout: str, frontages: tuple[Frontage, ...]
) -> list[Thing]:
    """Trees, lamps, signs, signals, posts, bushes."""
    rows = {"city street": 0.45, "avenue": 0.95, "residential street": 0.6, "green outskirts": 0.8}
    things = []

    def add(kind: str, s: float, t: float, size: float = 1.0) -> None:
        things.append(Thing(kind, float(s), float(t), 0.0, float(size), int(rng.integers(1 << 16))))

    for side in (-1, 1):
        index = (side + 1) // 2
        if rng.random() < rows[layout]:
            pitch, at = rng.uniform(7, 14), rng.uniform(3, 14)
            size = rng.uniform(0.85, 1.6)
            while at < 110:
                if rng.random() < 0.88:
                    t = side * (road.half_width + 0.7 + 0.4 * road.verge[index])
                    add("tree", at + rng.normal(0, 0.6), t, size * rng.uniform(0.85, 1.15))
                at += pitch
        if rng.random() < 0.8:
            pitch, at = rng.uniform(22, 34), rng.uniform(6, 24)
            while at < 110:
                add("lamp", at, side * (road.half_width + 0.45), rng.uniform(0.9, 1.15))
                at += pitch
        for _ in range(rng.poisson(2.2)):
            add(
                "sign",
                5 + 55 * rng.random() ** 1.3,
                side * (road.half_width + 0.5),
                rng.uniform(0.8, 1.2),
            )
        if rng.random() < 0.25:
            at = rng.uniform(4, 20)
            for step in range(int(rng.integers(4, 12))):
                add("post", at + 1.8 * step, side * (road.half_width + 0.35))
    for front in frontages:
        if front.kind in ("park", "gap", "house"):
            for _ in range(
                rng.poisson((front.end - front.start) / (6 if front.kind == "park" else 12))
            ):
                t = road.edge(front.side) + front.side * rng.uniform(0.8, 7)
                kind = "tree" if rng.random() < 0.6 else "bush"
                add(
                    kind,
                    rng.uniform(max(front.start, 2), max(front.end, 3)),
                    t,
                    rng.uniform(0.7, 1.3),
                )
    if road.crossing and rng.random() < 0.75:
        for side in (-1, 1):
            add("signal", road.crossing[0] - 0.8, side * (road.half_width + 0.5))
            add("signal", road.crossing[1] + 0.8, side * (road.half_width + 0.5))
    return things
