import cv2
import numpy as np
import pytest

from mmseg_domino.weather.depth import (
    CAMERA_HEIGHT,
    FAR,
    Camera,
    DepthFiles,
    along_ray,
    disparity_to_depth,
    fill_depth,
    plane_depth,
)


def test_disparity_as_cityscapes_defines_it():
    stored = np.array([[0, 1, 257, 257 + 256 * 9]], np.uint16)
    depth = disparity_to_depth(stored, baseline=0.2, focal=2000, farthest=500)
    assert np.isnan(depth[0, :2]).all()  # none, and none that says anything
    assert depth[0, 2:] == pytest.approx([400, 40])
    assert np.isnan(disparity_to_depth(stored, 0.2, 2000, farthest=300)[0, 2])
    with pytest.raises(ValueError, match="uint16"):
        disparity_to_depth(stored.astype(np.uint8), 0.2, 2000)


def test_distance_along_the_ray_is_that_of_the_point():
    camera = Camera(100.0, 40.0, 20.0)
    distance = along_ray(np.full((40, 80), 10.0, np.float32), camera)
    point = np.array([(60.5 - 40) / 100, (5.5 - 20) / 100, 1]) * 10
    assert distance[5, 60] == pytest.approx(np.linalg.norm(point))
    assert distance[20, 40] == pytest.approx(10, rel=1e-4)


def test_filled_depth_keeps_what_is_known():
    true = np.linspace(100, 5, 60, dtype=np.float32)[:, None].repeat(80, 1)
    holes = np.random.default_rng(0).random(true.shape) < 0.3
    sky = np.zeros(true.shape, bool)
    sky[:8] = True
    depth = np.where(holes | sky, np.nan, true)
    image = np.full((60, 80, 3), 128, np.uint8)
    filled = fill_depth(depth, image, sky)
    assert (filled[sky] == FAR).all()
    assert (filled == true)[~holes & ~sky].all()
    inner = ~sky
    inner[:14] = False
    error = np.abs(filled - true)[inner] / true[inner]
    assert error.mean() < 0.05
    with pytest.raises(ValueError, match="no known value"):
        fill_depth(np.full((5, 5), np.nan), image[:5, :5], sky[:5, :5])


def test_the_border_and_the_bonnet_where_disparity_is_void_are_not_far():
    """As in Cityscapes: nothing at the left, little disparities that are noise, a bonnet below."""
    true = np.linspace(90, 4, 128, dtype=np.float32)[:, None].repeat(256, 1)
    stored = (0.209313 * 2262.52 / true * 256 + 1).astype(np.uint16)
    stored[:, :30] = 0
    stored[:, 30:34] = 3  # 0.01 pixels: 60 km
    stored[-20:] = 0
    depth = disparity_to_depth(stored, 0.209313, 2262.52)
    image = np.full((128, 256, 3), 128, np.uint8)
    filled = fill_depth(depth, image, np.zeros(true.shape, bool))
    assert np.abs(np.log(filled[:100, :34] / true[:100, :34])).max() < 0.1
    assert filled[-20:].max() < 25


def street(height=120, width=200, horizon=50):
    """Labels of a street: ground below the horizon and 2 rows, houses left and right, a car."""
    rows = np.arange(height)[:, None] * np.ones((1, width))
    ground = rows > horizon + 3
    house = np.zeros_like(ground)
    house[10 : horizon + 20, :60] = True  # its foot is near
    house[20 : horizon + 6, 140:] = True
    car = np.zeros_like(ground)
    car[horizon + 2 : horizon + 30, 150:180] = True
    ground &= ~house & ~car
    sky = ~(ground | house | car)
    return ground, sky, car


def test_the_plane_of_the_labels_road():
    ground, sky, car = street()
    depth, camera = plane_depth(ground, sky, car, Camera(220.0, 100.0, 0.0))
    step = 220 * CAMERA_HEIGHT
    # The road's upper end is 80 m away, and nearer below by the law of the plane.
    assert camera.horizon == pytest.approx(54 - step / 80)
    row = 110
    assert depth[row, 100] == pytest.approx(step / (row + 0.5 - camera.horizon), rel=1e-3)
    assert (depth[sky] == FAR).all()
    # A house and a car have the depth of the ground at their foot, all the way up.
    foot = step / (70 + 0.5 - camera.horizon)
    assert depth[[15, 40, 65], 20] == pytest.approx([foot] * 3, rel=0.02)
    assert depth[60, 165] == pytest.approx(step / (80 + 0.5 - camera.horizon), rel=0.05)
    # What the car hides the foot of has the depth of what is beside it.
    assert depth[25, 165] == pytest.approx(depth[25, 195], rel=0.15)
    assert depth[25, 165] > 2 * depth[60, 165]


def test_a_label_without_a_road_still_has_a_plane():
    nothing = np.zeros((40, 60), bool)
    depth, camera = plane_depth(nothing, nothing, nothing, Camera.of_size(40, 60))
    assert np.isfinite(depth).all()
    assert (depth > 0).all()
    assert 0 < camera.horizon < 40


def test_depth_files_of_other_kinds(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3), 7.5))
    depth, camera = DepthFiles(str(tmp_path), ".npy", "depth").read("a")
    assert depth.tolist() == [[7.5] * 3] * 2
    assert camera == Camera.of_size(2, 3)
    cv2.imwrite(str(tmp_path / "b.png"), np.array([[0, 250]], np.uint16))
    depth, _ = DepthFiles(str(tmp_path), ".png", "depth", image_suffix="_rgb", scale=0.1).read(
        "b_rgb"
    )
    assert np.isnan(depth[0, 0])
    assert depth[0, 1] == pytest.approx(25)
    camera = '{"extrinsic": {"baseline": 0.5}, "intrinsic": {"fx": 100, "u0": 7, "v0": 3}}'
    (tmp_path / "c_camera.json").write_text(camera)
    cv2.imwrite(str(tmp_path / "c_disparity.png"), np.array([[2561]], np.uint16))
    depth, camera = DepthFiles(str(tmp_path), camera_root=str(tmp_path)).read("c")
    assert depth[0, 0] == pytest.approx(5.0)
    assert camera == Camera(100.0, 7.0, 3.0)
    with pytest.raises(ValueError, match="kind"):
        DepthFiles("x", kind="stereo")


def test_missing_and_damaged_depth_is_named(tmp_path):
    files = DepthFiles(str(tmp_path), camera_root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"a_disparity\.png is missing"):
        files.read("a")
    (tmp_path / "a_disparity.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a_disparity\.png is no depth file"):
        files.read("a")
    cv2.imwrite(str(tmp_path / "a_disparity.png"), np.ones((2, 2), np.uint16))
    (tmp_path / "a_camera.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a_camera\.json is no camera"):
        files.read("a")


def test_what_lines_the_road_behind_parked_cars_lies_along_it():
    """Cars hide the foot of the houses on the left; only their far end is known."""
    rows, columns = np.arange(120)[:, None], np.arange(200)[None]
    foot = 54 + 0.4 * np.abs(columns - 100)  # of houses at one distance from the road's middle
    ground = rows > foot
    car = (rows > foot - 2) & (columns < 80) & (rows < foot + 20)
    sky = rows < 10 + 0 * columns
    camera = Camera(220.0, 100.0, 0.0)
    depth, _ = plane_depth(ground & ~car, sky, car, camera)
    true, _ = plane_depth(ground, sky, np.zeros_like(car), camera)
    error = np.log(depth[20:50, :60] / true[20:50, :60])
    assert np.abs(error).max() < 0.35  # "as deep as the nearest" is off by 1.8
