"""Bodies of vehicles as quads, in metres, with the role of each quad.

Local frame: x right, y up, z forward; the middle of the vehicle's footprint is the origin. Quads
are in painting order; a quad seen from the far side of the body is left out by the painter.
Shapes: ``Q`` quads of 4 corners.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BODY, GLASS, DARK, TYRE, RIM, TAIL, HEAD, PLATE, STRIPE, LOAD = range(10)


@dataclass(frozen=True)
class Body:
    """``quads`` (Q, 4, 3), their ``roles`` (Q,) and outward ``normals`` (Q, 3)."""

    quads: np.ndarray
    roles: np.ndarray
    normals: np.ndarray
    length: float
    width: float
    height: float


class _Builder:
    def __init__(self) -> None:
        self.quads: list[np.ndarray] = []
        self.roles: list[int] = []
        self.outward: list[tuple[float, float, float]] = []

    def add(self, role: int, outward: tuple[float, float, float], *corners: tuple) -> None:
        self.quads.append(np.array(corners, np.float64))
        self.roles.append(role)
        self.outward.append(outward)

    def side(self, role: int, x: float, outline: list[tuple[float, float]], top: float = 0) -> None:
        """The same quad, (z, y) corners, on both sides; ``top`` leans its upper half inwards."""
        for sign in (-1, 1):
            middle = np.mean([y for _, y in outline])
            corners = [(sign * (x - (top if y > middle else 0)), y, z) for z, y in outline]
            self.add(role, (sign, 0, 0), *corners)

    def end(
        self,
        role: int,
        z: float,
        box: tuple[float, float, float, float],
        top_z: float | None = None,
    ) -> None:
        """A quad (x0, y0, x1, y1) on the rear (z < 0) or the front; its top at ``top_z``."""
        x0, y0, x1, y1 = box
        upper = z if top_z is None else top_z
        self.add(
            role, (0, 0, np.sign(z)), (x0, y0, z), (x1, y0, z), (x1, y1, upper), (x0, y1, upper)
        )

    def wheel(self, x: float, z: float, radius: float) -> None:
        inner, half = radius * 0.62, radius * 0.41
        for role, r, h in ((TYRE, radius, half), (RIM, inner, inner * 0.41)):
            for low, high in (((r, h), (r, -h)), ((h, r), (r, h)), ((r, -h), (h, -r))):
                a, b = low
                c, d = high
                self.side(role, x + 0.01, [(z - a, radius + b), (z + a, radius + b),
                                           (z + c, radius + d), (z - c, radius + d)])  # fmt: skip

    def finish(self, length: float, width: float, height: float) -> Body:
        quads = np.stack(self.quads)
        normals = np.cross(quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        flip = np.sign((normals * np.array(self.outward)).sum(1))
        return Body(
            quads, np.array(self.roles), normals * np.where(flip == 0, 1, flip)[:, None],
            length, width, height,
        )  # fmt: skip


# length, width, roof, belt, (rear glass bottom, top), (windscreen top, bottom), boot height
_CAR_SHAPES = (
    (4.1, 1.74, 1.47, 0.93, (-1.95, -1.5), (0.15, 0.95), 0.93),  # hatchback
    (4.6, 1.80, 1.44, 0.94, (-1.75, -0.95), (0.25, 1.05), 0.98),  # saloon
    (4.6, 1.82, 1.48, 0.95, (-2.22, -1.85), (0.2, 1.0), 0.95),  # estate
    (4.4, 1.86, 1.66, 1.05, (-2.05, -1.8), (0.2, 0.85), 1.05),  # sport utility
    (4.9, 1.92, 1.95, 1.10, (-2.38, -2.3), (1.2, 1.9), 1.10),  # van
)


@lru_cache
def car_body(shape: int) -> Body:
    """One of the five shapes of cars: hatchback, saloon, estate, sport utility, van."""
    length, width, roof, belt, rear, front, boot = _CAR_SHAPES[shape]
    w, end, lean, sill = width / 2, length / 2, 0.16, 0.28
    b = _Builder()
    b.side(
        DARK, w - 0.06, [(-end + 0.1, 0.12), (end - 0.1, 0.12), (end - 0.1, 0.4), (-end + 0.1, 0.4)]
    )
    for sign in (-1, 1):
        b.end(DARK, sign * (end - 0.06), (-w + 0.08, 0.12, w - 0.08, 0.45))
    # Lower body: flanks in two quads (the front falls), rear, front, boot lid, bonnet.
    nose = belt - 0.22
    b.side(BODY, w, [(-end, sill), (front[1], sill), (front[1], belt), (-end + 0.08, boot)])
    b.side(BODY, w, [(front[1], sill), (end, sill), (end - 0.05, nose), (front[1], belt)])
    b.end(BODY, -end, (-w, sill, w, boot), -end + 0.08)
    b.end(BODY, end, (-w, sill, w, nose), end - 0.08)
    b.add(
        BODY,
        (0, 1, 0),
        (-w, boot, -end + 0.08),
        (w, boot, -end + 0.08),
        (w, belt, rear[0]),
        (-w, belt, rear[0]),
    )
    b.add(
        BODY,
        (0, 1, 0),
        (-w, belt, front[1]),
        (w, belt, front[1]),
        (w, nose, end - 0.08),
        (-w, nose, end - 0.08),
    )
    # Cabin.
    u = w - lean
    b.add(
        BODY,
        (0, 1, 0),
        (-u, roof, rear[1]),
        (u, roof, rear[1]),
        (u, roof, front[0]),
        (-u, roof, front[0]),
    )
    b.side(
        BODY, w - 0.02, [(rear[0], belt), (front[1], belt), (front[0], roof), (rear[1], roof)], lean
    )
    middle = (rear[1] + front[0]) / 2
    high, low = roof - 0.08, belt + 0.03
    x = w - 0.005
    b.side(
        GLASS,
        x,
        [
            (rear[0] + 0.28, low),
            (middle - 0.06, low),
            (middle - 0.06, high),
            (rear[1] + 0.14, high),
        ],
        lean,
    )
    b.side(
        GLASS,
        x,
        [
            (middle + 0.06, low),
            (front[1] - 0.18, low),
            (front[0] - 0.08, high),
            (middle + 0.06, high),
        ],
        lean,
    )
    b.add(
        BODY,
        (0, 0.3, -1),
        (-w + 0.04, belt, rear[0]),
        (w - 0.04, belt, rear[0]),
        (u, roof, rear[1]),
        (-u, roof, rear[1]),
    )
    low, high, z0, z1 = belt + 0.06, roof - 0.09, rear[0] - 0.01, rear[1] - 0.02
    glass = ((-w + 0.2, low, z0), (w - 0.2, low, z0), (u - 0.1, high, z1), (-u + 0.1, high, z1))
    b.add(GLASS, (0, 0.3, -1), *glass)
    low, high, z0, z1 = belt, roof - 0.05, front[1] + 0.01, front[0] + 0.01
    glass = ((-w + 0.08, low, z0), (w - 0.08, low, z0), (u - 0.04, high, z1), (-u + 0.04, high, z1))
    b.add(GLASS, (0, 0.3, 1), *glass)
    _car_ends(b, w, end, sill, boot, nose)
    for z in (-end + 0.8, end - 0.85):
        b.wheel(w, z, 0.32)
    return b.finish(length, width, roof)


def _car_ends(b: _Builder, w: float, end: float, sill: float, boot: float, nose: float) -> None:
    """Lamps, number plates, bumpers and grille."""
    back, face = -end - 0.01, end + 0.01
    b.end(DARK, back, (-w + 0.06, sill, w - 0.06, sill + 0.14))
    b.end(DARK, face, (-w + 0.1, sill, w - 0.1, sill + 0.14))
    b.end(DARK, face, (-0.45, nose - 0.22, 0.45, nose - 0.06), face - 0.06)
    b.end(PLATE, back, (-0.26, sill + 0.2, 0.26, sill + 0.31), back + 0.02)
    b.end(PLATE, face, (-0.26, sill + 0.08, 0.26, sill + 0.19))
    for sign in (-1, 1):
        tail = sorted((sign * (w - 0.06), sign * (w - 0.34)))
        b.end(TAIL, back, (tail[0], boot - 0.26, tail[1], boot - 0.08), back + 0.06)
        head = sorted((sign * (w - 0.08), sign * (w - 0.42)))
        b.end(HEAD, face, (head[0], nose - 0.19, head[1], nose - 0.04), face - 0.05)


@lru_cache
def long_body(kind: str) -> Body:
    """A bus, truck or tram."""
    length, width, height, floor = {
        "bus": (12.0, 2.5, 3.1, 0.3),
        "truck": (8.6, 2.45, 3.5, 0.75),
        "tram": (26.0, 2.45, 3.5, 0.2),
    }[kind]
    w, end = width / 2, length / 2
    b = _Builder()
    b.side(
        DARK,
        w - 0.15,
        [
            (-end + 0.1, 0.15),
            (end - 0.1, 0.15),
            (end - 0.1, floor + 0.3),
            (-end + 0.1, floor + 0.3),
        ],
    )
    for sign in (-1, 1):
        b.end(DARK, sign * (end - 0.1), (-w + 0.15, 0.2, w - 0.15, floor + 0.3))
    if kind == "truck":
        _truck(b, w, end, height, floor)
    else:
        _coach(b, kind, w, end, height, floor)
    wheels = {"bus": (-3.6, 3.4), "truck": (-3.0, -1.9, 2.9), "tram": ()}[kind]
    for z in wheels:
        b.wheel(w, z, 0.5)
    return b.finish(length, width, height)


def _truck(b: _Builder, w: float, end: float, height: float, floor: float) -> None:
    cab, top = end - 1.9, height - 0.6
    b.side(LOAD, w, [(-end, floor), (cab - 0.2, floor), (cab - 0.2, height), (-end, height)])
    b.end(LOAD, -end, (-w, floor, w, height))
    b.add(
        LOAD,
        (0, 0, 1),
        (-w, top, cab - 0.2),
        (w, top, cab - 0.2),
        (w, height, cab - 0.2),
        (-w, height, cab - 0.2),
    )
    for x in (-0.03, -w + 0.02, w - 0.08):
        b.end(DARK, -end - 0.01, (x, floor, x + 0.06, height - 0.05))
    b.end(DARK, -end - 0.01, (-w, floor - 0.12, w, floor + 0.02))
    b.side(BODY, w - 0.03, [(cab, 0.5), (end, 0.5), (end - 0.15, top), (cab, top)])
    b.side(
        GLASS,
        w - 0.02,
        [(cab + 0.5, 1.7), (end - 0.2, 1.7), (end - 0.35, top - 0.3), (cab + 0.5, top - 0.3)],
    )
    b.end(BODY, end, (-w + 0.03, 0.5, w - 0.03, top), end - 0.15)
    b.end(GLASS, end + 0.01, (-w + 0.15, 1.65, w - 0.15, top - 0.3), end - 0.1)
    b.end(DARK, end + 0.01, (-0.8, 0.6, 0.8, 1.2))
    for sign in (-1, 1):
        x = sorted((sign * (w - 0.1), sign * (w - 0.4)))
        b.end(TAIL, -end - 0.02, (x[0], floor - 0.1, x[1], floor + 0.02))
        b.end(HEAD, end + 0.02, (x[0], 0.7, x[1], 0.95))
    b.end(PLATE, -end - 0.02, (-0.26, floor - 0.1, 0.26, floor + 0.01))


def _coach(b: _Builder, kind: str, w: float, end: float, height: float, floor: float) -> None:
    belt, top = floor + 0.85, height - 0.45
    b.side(BODY, w, [(-end, floor), (end, floor), (end, height), (-end, height)])
    b.side(
        STRIPE,
        w + 0.005,
        [(-end, floor + 0.05), (end, floor + 0.05), (end, floor + 0.4), (-end, floor + 0.4)],
    )
    count = 7 if kind == "bus" else 14
    step = (2 * end - 0.6) / count
    for index in range(count):
        z = -end + 0.3 + index * step
        door = index % 3 == 1
        low = floor + 0.15 if door else belt
        b.side(
            GLASS,
            w + 0.01,
            [(z + 0.06, low), (z + step - 0.06, low), (z + step - 0.06, top), (z + 0.06, top)],
        )
    for sign in (-1, 1):
        z = sign * (end + 0.01)
        b.end(BODY, sign * end, (-w, floor, w, height))
        b.end(GLASS, z, (-w + 0.15, belt, w - 0.15, top))
        b.end(DARK, z, (-w * 0.6, top + 0.08, w * 0.6, height - 0.08))
        b.end(STRIPE, z, (-w, floor + 0.05, w, floor + 0.3))
        for s in (-1, 1):
            x = sorted((s * (w - 0.1), s * (w - 0.38)))
            b.end(TAIL if sign < 0 else HEAD, 1.001 * z, (x[0], belt - 0.4, x[1], belt - 0.15))
