"""A small deferred rasteriser: everything in a street is made of planar faces.

A face knows its class, its plane and its material. Drawing writes only the face's number, its
colour and its glow, back to front; class, depth and light are then looked up for the whole image
at once. Depth is therefore exact: along a planar face 1/depth is linear in the pixel position.

Shapes: ``H W`` image, ``F`` faces, ``V`` corners of a face.
World: camera coordinates in metres, x right, y up from the road's surface, z along the optical
axis (the depth); the camera is at (0, height, 0) and looks along z without roll. The horizon may
lie off the image's centre (a tilt, small as a car's, taken as a shift: verticals stay vertical).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from street_world.street.classes import IGNORE, SKY
from street_world.street.planes import look_up

_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions
_NEAR = 0.4  # metres
_MAX_FACES = 65535
_NOWHERE = (float("nan"), float("nan"))
_NOTHING = (0.0, 1.0)  # height, distance
_DARK = (0, 0, 0)
_LIMIT = 8000.0  # pixels; OpenCV's fixed-point corners must not overflow


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Args:
        height_px: Image height H in pixels.
        width_px: Image width W in pixels.
        focal: Focal length in pixels.
        centre: Column of the optical axis.
        horizon: Row of the horizon.
        height: Height over the road in metres.
    """

    height_px: int
    width_px: int
    focal: float
    centre: float
    horizon: float
    height: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixel positions (..., 2) of points (..., 3) in front of the camera."""
        depth = points[..., 2]
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre + self.focal * points[..., 0] / depth
        pixels[..., 1] = self.horizon + self.focal * (self.height - points[..., 1]) / depth
        return pixels


class Texture:
    """An image with its smaller copies, so that distant faces are neither slow nor flickering.

    Args:
        colour: (h, w, 3) uint8 sRGB, or (h, w, 4) with opacity.
        glow: (h, w, 3) uint8 light it sends out by itself, None if dark.
    """

    def __init__(self, colour: np.ndarray, glow: np.ndarray | None = None) -> None:
        self.colours = _pyramid(colour)
        self.glows = None if glow is None else _pyramid(glow)

    def at(self, level: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Colour and glow halved ``level`` times, or as small as there is."""
        level = min(level, len(self.colours) - 1)
        return self.colours[level], None if self.glows is None else self.glows[level]


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    copies = [image]
    while min(copies[-1].shape[:2]) >= 4:
        size = (copies[-1].shape[1] // 2, copies[-1].shape[0] // 2)
        copies.append(cv2.resize(copies[-1], size, interpolation=cv2.INTER_AREA))
    return copies


@dataclass
class GBuffer:
    """What is seen at each pixel, before light and weather.

    ``face`` (H, W) uint16 indexes the tables; face 0 is the sky. ``albedo`` (H, W, 3) uint8 sRGB;
    ``glow`` (H, W, 3) uint8 sRGB is light sent out when lamps are lit. ``label`` (H, W) uint8
    training numbers; ``depth`` (H, W) float32 metres along the optical axis, infinite in the sky.
    ``classes`` (F,), ``normals`` (F, 3); ``anchors`` (F, 2) is the point (x, z) of the ground where
    a face's object stands, NaN where the question does not arise; ``opposite`` (F, 2) is the
    height and distance in metres of what stands across the street and may put the face in shadow;
    ``things`` (F,) int32 says which thing of the scene a face belongs to, -1 for none.
    """

    camera: Camera
    face: np.ndarray
    albedo: np.ndarray
    glow: np.ndarray
    label: np.ndarray
    depth: np.ndarray
    classes: np.ndarray
    normals: np.ndarray
    anchors: np.ndarray
    opposite: np.ndarray
    things: np.ndarray

    @property
    def thing(self) -> np.ndarray:
        """(H, W) int32: which thing of the scene each pixel sees, -1 for none."""
        return look_up(self.things, self.face.astype(np.intp))


class Painter:
    """Collects faces and paints them in the order of the calls: call back to front."""

    def __init__(self, camera: Camera) -> None:
        shape = (camera.height_px, camera.width_px)
        self.camera = camera
        self.face = np.zeros(shape, np.uint16)
        self.albedo = np.zeros((*shape, 3), np.uint8)
        self._glow = np.zeros((*shape, 3), np.uint8)  # of faces in _patterned
        self._patterned: list[int] = []
        self._glows: list[tuple[int, int, int]] = [_DARK]
        self._rows = np.arange(shape[0], dtype=np.float32)[:, None] + 0.5
        self._slopes = (np.arange(shape[1]) + 0.5 - camera.centre) / camera.focal
        self._planes: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)]
        self._normals: list[tuple[float, float, float]] = [(0.0, 1.0, 0.0)]
        self._class: list[int] = [SKY]
        self._anchors: list[tuple[float, float]] = [_NOWHERE]
        self._opposite: list[tuple[float, float]] = [_NOTHING]
        self._things: list[int] = [-1]
        self.anchor, self.opposite, self.thing = _NOWHERE, _NOTHING, -1

    def stand(
        self,
        anchor: tuple[float, float] = _NOWHERE,
        opposite: tuple[float, float] = _NOTHING,
        thing: int = -1,
    ) -> None:
        """Say of the faces painted from now on where they stand, what is across, whose they are."""
        self.anchor, self.opposite, self.thing = anchor, opposite, thing

    def add_face(self, point: Sequence[float], normal: Sequence[float], label: int) -> int:
        """Register a plane through ``point`` with unit ``normal``; its number is returned.

        1/z of the plane n . (X - P) = 0 seen along the ray of pixel (u, v) is
        n . ray / (n . (P - camera)), linear in u and v.
        """
        if len(self._class) >= _MAX_FACES:
            raise ValueError(f"a scene may have {_MAX_FACES} faces at most")
        camera = self.camera
        nx, ny, nz = (float(value) for value in normal)
        offset = nx * point[0] + ny * (point[1] - camera.height) + nz * point[2]
        offset = offset if abs(offset) > 1e-6 else 1e-6
        # ray = ((u - centre) / f, (horizon - v) / f, 1)
        a, b = nx / (camera.focal * offset), -ny / (camera.focal * offset)
        c = nz / offset - a * camera.centre - b * camera.horizon
        self._planes.append((a, b, c))
        self._normals.append((nx, ny, nz))
        self._class.append(label)
        self._glows.append(_DARK)
        self._anchors.append(self.anchor)
        self._opposite.append(self.opposite)
        self._things.append(self.thing)
        return len(self._class) - 1

    def polygon(
        self,
        corners: np.ndarray,
        colour: tuple[int, int, int],
        label: int,
        glow: tuple[int, int, int] | None = None,
        centre: np.ndarray | None = None,
    ) -> None:
        """Paint a planar convex polygon, (V, 3) metres, in one colour (sRGB).

        Args:
            corners: In any order of rotation.
            glow: Light it sends out by itself.
            centre: A point inside the body that the polygon belongs to; the polygon is left out
                when it is on the body's far side.
        """
        nx, ny, nz = _cross(corners[1] - corners[0], corners[2] - corners[0])
        length = (nx * nx + ny * ny + nz * nz) ** 0.5
        if length < 1e-9:
            return
        x, y, z = corners[0].tolist()
        facing = nx * x + ny * (y - self.camera.height) + nz * z
        if centre is not None:
            outward = nx * (x - centre[0]) + ny * (y - centre[1]) + nz * (z - centre[2])
            if facing * outward > 0:
                return
        length = -length if facing > 0 else length
        normal = (nx / length, ny / length, nz / length)
        if corners[:, 2].min() < _NEAR:
            corners = clip_near(corners)
            if len(corners) < 3:
                return
        pixels = self.camera.project(corners)
        low, high = pixels.min(0), pixels.max(0)
        if high[0] < 0 or high[1] < 0:
            return
        if low[0] > self.camera.width_px or low[1] > self.camera.height_px:
            return
        number = self.add_face(corners[0], normal, label)
        self._fill(_fixed(pixels), number, colour, glow)

    def facing(
        self,
        outline: Sequence[tuple[float, float]],
        z: float,
        colour: tuple[int, int, int],
        label: int,
        glow: tuple[int, int, int] | None = None,
    ) -> None:
        """Paint a convex polygon that faces the camera: (x, y) corners at depth ``z``, metres.

        ``polygon`` does the same, five times slower.
        """
        camera = self.camera
        if z < _NEAR:
            return
        scale = camera.focal / z
        columns = [camera.centre + scale * x for x, _ in outline]
        rows = [camera.horizon + scale * (camera.height - y) for _, y in outline]
        if max(columns) < 0 or max(rows) < 0:
            return
        if min(columns) > camera.width_px or min(rows) > camera.height_px:
            return
        number = self.add_face((0.0, 0.0, z), (0.0, 0.0, -1.0), label)
        self._fill(_fixed(np.array((columns, rows)).T), number, colour, glow)

    def mesh(
        self,
        quads: np.ndarray,
        normals: np.ndarray,
        colours: list[tuple[int, int, int]],
        glows: list[tuple[int, int, int] | None],
        label: int,
    ) -> None:
        """Paint the quads of a convex-ish body that face the camera, in their order.

        Args:
            quads: (Q, 4, 3) corners in metres.
            normals: (Q, 3) outward unit normals.
            colours: Q colours.
            glows: Q colours of own light, None where dark.
        """
        if quads[..., 2].max() < _NEAR:
            return
        if quads[..., 2].min() < _NEAR:
            centre = quads.mean((0, 1))
            for quad, colour, glow in zip(quads, colours, glows, strict=True):
                self.polygon(quad, colour, label, glow, centre)
            return
        pixels = self.camera.project(quads)
        low, high = pixels.min(1), pixels.max(1)
        eye = quads[:, 0] - (0.0, self.camera.height, 0.0)
        visible = (normals * eye).sum(1) < 0
        # What is thinner than a third of a pixel cannot be seen in its own colour.
        visible &= ((high - low) > 0.34).all(1)
        visible &= (high > 0).all(1)
        visible &= (low[:, 0] < self.camera.width_px) & (low[:, 1] < self.camera.height_px)
        shown = np.flatnonzero(visible)
        if not len(shown):
            return
        number = self._add_faces(quads[shown, 0], normals[shown], label)
        fixed = _fixed(pixels[shown])
        for at, index in enumerate(shown.tolist()):
            self._fill(fixed[at], number + at, colours[index], glows[index])

    def _add_faces(self, points: np.ndarray, normals: np.ndarray, label: int) -> int:
        """``add_face`` for (N, 3) points and normals of one object; the first one's number."""
        camera, first = self.camera, len(self._class)
        if first + len(points) > _MAX_FACES:
            raise ValueError(f"a scene may have {_MAX_FACES} faces at most")
        offset = (normals * (points - (0.0, camera.height, 0.0))).sum(1)
        offset[np.abs(offset) < 1e-6] = 1e-6
        planes = normals / offset[:, None]
        planes[:, :2] *= 1 / camera.focal, -1 / camera.focal
        planes[:, 2] -= planes[:, 0] * camera.centre + planes[:, 1] * camera.horizon
        self._planes += map(tuple, planes.tolist())
        self._normals += map(tuple, normals.tolist())
        self._class += [label] * len(points)
        self._glows += [_DARK] * len(points)
        self._anchors += [self.anchor] * len(points)
        self._opposite += [self.opposite] * len(points)
        self._things += [self.thing] * len(points)
        return first

    def _fill(
        self,
        fixed: np.ndarray,
        number: int,
        colour: tuple[int, int, int],
        glow: tuple[int, int, int] | None,
    ) -> None:
        cv2.fillConvexPoly(self.face, fixed, number, cv2.LINE_8, _SHIFT)
        cv2.fillConvexPoly(self.albedo, fixed, colour, cv2.LINE_AA, _SHIFT)
        if glow is not None:
            self._glows[number] = glow

    def wall(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        bottom: float,
        top: float,
        texture: Texture,
        label: int,
        scale: tuple[float, float] | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        tint: tuple[float, float, float] | None = None,
        normal: tuple[float, float, float] | None = None,
    ) -> None:
        """Paint a textured upright rectangle, standing between two points of the ground.

        Args:
            start: (x, z) of the edge at the texture's left.
            end: (x, z) of the edge at the texture's right.
            bottom: Height of the lower edge in metres.
            top: Height of the upper edge in metres.
            texture: What is painted on it.
            scale: Size (metres along, metres up) of one repetition; the whole face by default.
            offset: Position in the texture (share of its width, of its height) of the face's
                upper left corner.
            tint: Factor on the colours.
            normal: For the light, where the face stands for something that is not flat.
        """
        view = self._wall_view(start, end, bottom, top)
        if view is None:
            return
        left, right, up, down, along, depth, facing = view
        camera = self.camera
        height = (self._rows[up:down] - camera.horizon) * (depth * np.float32(-1 / camera.focal))
        height += camera.height
        length = math.hypot(end[0] - start[0], end[1] - start[1])
        repeat = scale or (length, top - bottom)
        # Coarser copies of the texture where one texel is smaller than a pixel.
        texel = repeat[1] / texture.colours[0].shape[0]
        level = int(math.log2(max(1.0, float(depth.mean()) / camera.focal / texel)) + 0.3)
        colour, glow = texture.at(level)
        map_x = (along / repeat[0] + offset[0]) * colour.shape[1] - 0.5
        map_x = cv2.repeat(map_x[None], down - up, 1)
        texels = colour.shape[0] / repeat[1]
        map_y = height * np.float32(-texels)
        map_y += np.float32(top * texels + offset[1] * colour.shape[0] - 0.5)
        border = cv2.BORDER_WRAP if scale else cv2.BORDER_REPLICATE
        sample = cv2.remap(colour, map_x, map_y, cv2.INTER_LINEAR, borderMode=border)
        if glow is not None:
            glow = cv2.remap(glow, map_x, map_y, cv2.INTER_LINEAR, borderMode=border)
        number = self.add_face((start[0], 0.0, start[1]), facing, label)
        if normal is not None:
            self._normals[-1] = normal
        inside = (height >= bottom) & (height < top)
        where = (slice(up, down), slice(left, right))
        self._blend(where, sample, inside, tint, glow, number)

    def _wall_view(
        self, start: tuple[float, float], end: tuple[float, float], bottom: float, top: float
    ) -> tuple | None:
        """Bounding box of a wall, position along it and depth of each column, its normal."""
        camera = self.camera
        (x0, z0), (x1, z1) = start, end
        dx, dz = x1 - x0, z1 - z0
        length = math.hypot(dx, dz)
        if length < 1e-4 or max(z0, z1) < _NEAR:
            return None
        near = [0.0, 1.0]  # visible part of the wall, as shares of its length
        if min(z0, z1) < _NEAR:
            near[0 if z0 < z1 else 1] = (_NEAR - z0) / dz
        ends = [(x0 + t * dx, z0 + t * dz) for t in near]
        columns = [camera.centre + camera.focal * x / z for x, z in ends]
        left, right = sorted(columns)
        left, right = max(0, round(left)), min(camera.width_px, round(right))
        if right <= left:
            return None
        slopes = self._slopes[left:right]
        # The ray (k z, z) meets the wall where k (z0 + t dz) = x0 + t dx.
        # Half a pixel beyond an edge seen almost from its side may lie far away along the wall.
        share = (x0 - slopes * z0) / (slopes * dz - dx + 1e-12)
        share = np.clip(share, near[0], near[1])
        depth = np.maximum(z0 + share * dz, _NEAR)
        closest, farthest = float(depth.min()), float(depth.max())
        if (top - bottom) * camera.focal < 1.5 * farthest:
            return None  # too far to be seen
        rows = [
            camera.horizon + camera.focal * (camera.height - y) / z
            for y in (bottom, top)
            for z in (closest, farthest)
        ]
        up, down = max(0, int(min(rows))), min(camera.height_px, int(max(rows)) + 1)
        if down <= up:
            return None
        facing = (-dz / length, 0.0, dx / length)
        if facing[0] * x0 + facing[2] * z0 > 0:
            facing = (-facing[0], 0.0, -facing[2])
        return left, right, up, down, np.float32(share * length), np.float32(depth), facing

    def _blend(
        self,
        where: tuple[slice, slice],
        sample: np.ndarray,
        inside: np.ndarray,
        tint: tuple[float, float, float] | None,
        glow: np.ndarray | None,
        number: int,
    ) -> None:
        if tint is not None:
            sample = cv2.multiply(sample, (*tint, 1.0))
        target = self.albedo[where]
        if sample.shape[2] == 4:
            opacity = cv2.extractChannel(sample, 3) * inside
            weight = opacity * np.float32(1 / 255)
            colours = cv2.cvtColor(sample, cv2.COLOR_RGBA2RGB)
            target[:] = cv2.blendLinear(colours, np.ascontiguousarray(target), weight, 1 - weight)
            inside = opacity > 127
        else:
            cv2.copyTo(sample, inside.view(np.uint8), target)
        np.copyto(self.face[where], number, where=inside)
        if glow is not None:
            cv2.copyTo(glow, inside.view(np.uint8), self._glow[where])
            self._patterned.append(number)

    def bonnet(self, outline: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Paint the car's own bonnet, (V, 2) pixels: ignored by labels, half a metre away."""
        number = self.add_face(np.array((0.0, 0.9, 0.5)), np.array((0.0, 0.8, -0.6)), IGNORE)
        fixed = np.round(outline * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.face, [fixed], number, cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.albedo, [fixed], colour, cv2.LINE_AA, _SHIFT)

    def finish(self) -> GBuffer:
        """Look up class and depth of every pixel."""
        width = self.face.shape[1]
        face = self.face.astype(np.intp)  # NumPy looks up fastest by its own index type
        planes = np.asarray(self._planes, np.float32)
        columns = np.arange(width, dtype=np.float32)[None] + 0.5
        inverse = look_up(planes[:, 0], face) * columns
        inverse += look_up(planes[:, 1], face) * self._rows
        inverse += look_up(planes[:, 2], face)
        # An anti-aliased edge may own a pixel whose centre is just beyond its plane's horizon.
        depth = 1.0 / np.maximum(inverse, 1e-4)
        depth[self.face == 0] = np.inf
        classes = np.asarray(self._class, np.uint8)
        return GBuffer(
            camera=self.camera,
            face=self.face,
            albedo=self.albedo,
            glow=self._finish_glow(face),
            label=look_up(classes, face),
            depth=depth,
            classes=classes,
            normals=np.asarray(self._normals, np.float32),
            anchors=np.asarray(self._anchors, np.float32),
            opposite=np.asarray(self._opposite, np.float32),
            things=np.asarray(self._things, np.int32),
        )

    def _finish_glow(self, face: np.ndarray) -> np.ndarray:
        """One colour a face, but the pattern of lit windows where there is one."""
        glow = np.zeros((*face.shape, 3), np.uint8)
        table = np.asarray(self._glows, np.uint8)
        if table.any():
            glow = look_up(table, face)
        if self._patterned:
            patterned = np.zeros(len(table), np.uint8)
            patterned[self._patterned] = 1
            cv2.copyTo(self._glow, look_up(patterned, face), glow)
        return glow


def _fixed(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's fixed-point numbers; its pixel centres are whole numbers, ours lie at one half."""
    return np.rint((pixels.clip(-_LIMIT, _LIMIT) - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _cross(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """The vector product of two short vectors; ``np.cross`` takes ten times longer."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


def clip_near(corners: np.ndarray) -> np.ndarray:
    """The part of a polygon in front of the near plane (Sutherland and Hodgman)."""
    kept = []
    for here, there in zip(corners, np.roll(corners, -1, 0), strict=True):
        if here[2] >= _NEAR:
            kept.append(here)
        if (here[2] >= _NEAR) != (there[2] >= _NEAR):
            share = (_NEAR - here[2]) / (there[2] - here[2])
            kept.append(here + share * (there - here))
    return np.asarray(kept)
