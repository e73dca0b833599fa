"""Fast operations on planes against the plain NumPy expressions that they stand for."""

import cv2
import numpy as np
import pytest
from matplotlib.path import Path as Outline

from street_world.street import planes
from street_world.street.ground import fill_hulls
from street_world.street.raster import Camera

CAMERA = Camera(height_px=96, width_px=192, focal=200.0, centre=94.0, horizon=38.0, height=1.4)


@pytest.fixture
def plane():
    return np.random.default_rng(0).uniform(-700, 700, (20, 33)).astype(np.float32)


def test_broadcasting(plane):
    colour = (0.2, 1.5, -3.0)
    np.testing.assert_array_equal(planes.threefold(plane), np.repeat(plane[..., None], 3, -1))
    np.testing.assert_array_equal(
        planes.spread(plane, colour), plane[..., None] * np.float32(colour)
    )
    np.testing.assert_array_equal(
        planes.row_of(colour, 5), np.broadcast_to(np.float32(colour), (1, 5, 3))
    )
    assert planes.spread(plane, np.float64(colour)).dtype == np.float32


def test_looking_up(plane):
    index = np.random.default_rng(1).integers(0, 7, (9, 4)).astype(np.uint16)
    for table in (np.arange(7.0), np.arange(21).reshape(7, 3)):
        np.testing.assert_array_equal(planes.look_up(table, index), table[index])
    texture = np.random.default_rng(2).random((64, 64), np.float32)
    rows, columns = plane, plane.T.copy().reshape(plane.shape)
    expected = texture[rows.astype(np.int32) % 64, columns.astype(np.int32) % 64]
    np.testing.assert_array_equal(planes.sample(texture, rows, columns), expected)


@pytest.mark.parametrize("period", [1.0, 3.3, 512])
def test_remainder(plane, period):
    got = planes.fraction(plane, period).astype(np.float64)
    away = np.abs(got - np.mod(plane.astype(np.float64), period))
    # A value just below a multiple may round to its other side.
    assert np.minimum(away, period - away).max() < 1e-4 * max(period, 1)


def test_hulls_cover_the_pixels_whose_ground_lies_inside():
    """Each pixel's point of the ground, by the pinhole's formula, in or out of each outline."""
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack((np.cos(angles), np.sin(angles)), 1)
    outlines = np.stack([(0.5, 9.0) + 2.0 * ring, (-3.0, 16.0) + 3.5 * ring])
    shuffled = outlines[:, np.random.default_rng(0).permutation(8)]
    mask = np.zeros((CAMERA.height_px, CAMERA.width_px), np.uint8)
    fill_hulls(mask, CAMERA, shuffled, 255)
    rows, columns = np.mgrid[int(CAMERA.horizon) + 2 : CAMERA.height_px, 0 : CAMERA.width_px] + 0.5
    z = CAMERA.focal * CAMERA.height / (rows - CAMERA.horizon)
    x = (columns - CAMERA.centre) / CAMERA.focal * z
    points = np.stack((x.ravel(), z.ravel()), 1)
    inside = np.any([Outline(outline).contains_points(points) for outline in outlines], 0)
    inside = inside.reshape(rows.shape)
    got = mask[int(CAMERA.horizon) + 2 :]
    border = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3))) != cv2.erode(
        inside.astype(np.uint8), np.ones((3, 3))
    )
    assert inside.sum() > 500
    # Edges are smoothed over a pixel or two.
    np.testing.assert_array_equal(got[~border] > 127, inside[~border])


def test_hulls_behind_the_camera_or_far_away_are_left_out():
    square = np.array(((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)))
    mask = np.zeros((CAMERA.height_px, CAMERA.width_px), np.uint8)
    fill_hulls(mask, CAMERA, np.stack([square - (0, 5), square - (0, -400)]), 255)
    assert not mask.any()
    fill_hulls(mask, CAMERA, square[None] + (0, 1.0), 255)  # from under us to 2 m ahead
    assert not mask.any()  # nearer than the image's last row shows
    fill_hulls(mask, CAMERA, 9 * square[None], 255)  # the camera stands in it
    assert mask[-1].all()
    assert not mask[: int(CAMERA.horizon)].any()
