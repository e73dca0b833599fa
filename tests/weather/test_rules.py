"""What each weather must do, beside looking right: docs/synthesis.md shows pictures' statistics."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmseg_domino.weather import (
    DOMAINS,
    Ranges,
    Scene,
    View,
    describe_view,
    draw_weather,
    fog,
    night,
    rain,
    snow,
)
from mmseg_domino.weather.depth import Camera
from mmseg_domino.weather.rules import airlight

from .scenes import BUILDING, CAR, CLASSES, HEIGHT, ROAD, SIDEWALK, SKY, VEGETATION, WIDTH, street


@pytest.fixture(scope="module")
def scene():
    return street()


def grey(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def laplacian(image):
    return float(np.abs(cv2.Laplacian(grey(image), cv2.CV_32F)).mean())


@pytest.mark.parametrize("beta", [0.005, 0.01, 0.02])
def test_fog_is_foggy_cityscapes_formula_with_its_own_beta(scene, beta):
    """I = R t + L (1 - t), t = exp(-beta l), on sRGB values in [0, 1], l along the ray."""
    foggy = fog(scene, visibility=-np.log(0.05) / beta)
    clear = scene.image / 255.0
    light = airlight(scene.image.astype(np.float32)) / 255.0
    transmission = np.exp(-beta * scene.distance.astype(np.float64))[..., None]
    published = clear * transmission + light * (1 - transmission)
    assert np.abs(foggy - 255 * published).max() < 0.51


def test_linear_fog_is_brighter(scene):
    usual, linear = fog(scene, 150), fog(scene, 150, linear=True)
    assert 2 < linear.mean() - usual.mean() < 40


def test_airlight_is_that_of_the_haziest_place():
    light = np.full((80, 80, 3), 0.2, np.float32)
    light[:20] = (0.7, 0.75, 0.8)
    light[60, 60] = 1.0  # a lamp is bright, but not haze
    assert airlight(light) == pytest.approx([0.7, 0.75, 0.8])


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("measured", [True, False])
def test_weather_depends_on_its_draw_alone(domain, measured):
    scene = street(measured=measured)
    before = scene.image.copy()
    weather = draw_weather(domain, Ranges(), np.random.default_rng(3))
    first, again = weather.put_on(scene), weather.put_on(street(measured=measured))
    assert first.dtype == np.uint8
    assert first.shape == scene.image.shape
    assert np.array_equal(first, again)
    assert np.array_equal(scene.image, before)
    other = draw_weather(domain, Ranges(), np.random.default_rng(4)).put_on(scene)
    assert not np.array_equal(first, other)


def test_the_wet_road_mirrors_what_stands_on_it_and_nothing_through_it(scene):
    """Below a red car the road is redder than below a green one; beside it, nothing changes."""
    reds = []
    for colour in ((230, 10, 10), (10, 230, 10)):
        image = scene.image.copy()
        image[scene.label == CAR] = colour
        reds.append(rain(replace(scene, image=image), 0.8, np.random.default_rng(0)).astype(float))
    difference = (reds[0] - reds[1])[..., 0]
    below = np.zeros(scene.label.shape, bool)
    below[172:182, 300:360] = True
    beside = np.zeros_like(below)
    beside[172:182, 180:240] = True
    assert difference[below].mean() > 5 * max(0.5, abs(difference[beside].mean()))
    # What is behind the car is not mirrored below it.
    image = scene.image.copy()
    image[scene.label == BUILDING] = (255, 255, 0)
    changed = rain(replace(scene, image=image), 0.8, np.random.default_rng(0)).astype(float)
    plain = rain(scene, 0.8, np.random.default_rng(0)).astype(float)
    moved = np.abs(changed - plain).mean(2)
    house = np.zeros_like(below)
    house[200:, :60] = True
    assert moved[below].mean() < 0.3 * moved[scene.label == BUILDING].mean()


def test_rain_is_dull_and_smooth(scene):
    image = rain(scene, 0.7, np.random.default_rng(0))
    spread = (image.max(2).astype(int) - image.min(2)).mean()
    assert spread < 0.6 * (scene.image.max(2).astype(int) - scene.image.min(2)).mean()
    assert laplacian(image) < 0.7 * laplacian(scene.image)
    assert image.mean() < scene.image.mean()


def test_snow_lies_on_what_faces_up(scene):
    image = grey(snow(scene, 0.8, np.random.default_rng(0)))
    bare = grey(rain(scene, 0.8, np.random.default_rng(0)))
    gain = image - bare
    assert gain[scene.label == SIDEWALK].mean() > 1.5 * gain[scene.label == BUILDING].mean()
    house = scene.label == BUILDING
    assert scene.upward[house & (scene.distance < 60)].mean() < 0.2
    assert scene.upward[scene.label == ROAD].mean() > 0.9
    more = grey(snow(scene, 0.9, np.random.default_rng(0)))
    less = grey(snow(scene, 0.3, np.random.default_rng(0)))
    assert more[scene.label == ROAD].mean() > less[scene.label == ROAD].mean()


@pytest.mark.parametrize("exposure", [28, 50])
def test_night_is_dark_warm_and_smooth_with_lamps_that_shine(scene, exposure):
    image = night(scene, exposure, np.random.default_rng(1))
    red, green, blue = image.reshape(-1, 3).mean(0)
    assert image.mean() == pytest.approx(exposure, abs=3)
    assert red > green > blue
    assert laplacian(image) < 0.5 * laplacian(scene.image)
    assert image[scene.label == SKY].mean() < 0.4 * scene.image[scene.label == SKY].mean()
    car = image[scene.label == CAR].astype(int)
    assert car.max() > 200  # its lamps


@pytest.fixture
def black():
    """A dark street whose camera and label are easily drawn on."""
    label = np.full((120, 200), ROAD, np.uint8)
    label[:50] = BUILDING
    image = np.full((120, 200, 3), 90, np.uint8)
    return image, label


def at_night(image, label, seed):
    view = describe_view(image, label, CLASSES, (np.full(label.shape, 15.0), Camera(220, 100, 50)))
    return night(Scene.of_image(image, label, CLASSES, view), 30, np.random.default_rng(seed))


def test_vehicles_lamps_are_on_them_and_red_where_the_photograph_shows_tail_lamps(black):
    image, label = black
    label[60:90, 120:170] = CAR
    image[76:79, 125:129] = image[76:79, 161:165] = (200, 20, 20)
    for seed in range(8):
        lamps = at_night(image, label, seed)[72:84, 122:132].reshape(-1, 3).mean(0)
        assert lamps[0] > 2 * lamps[2]
    hidden = label.copy()
    hidden[60:90, 120:136] = ROAD  # a thing in front of the left lamp, which is at column 127
    hidden[60, 120:136] = CAR
    shown, without = (at_night(image, one, 0)[77, 127].astype(int) for one in (label, hidden))
    assert shown[0] > without[0] + 60


def test_lit_windows_are_panes_and_not_walls(black):
    image, label = black
    wall = at_night(image, label, 3)[:40].max()
    image[8:40:10, 8:200:16] = image[9:40:10, 8:200:16] = 30
    image[8:40:10, 9:200:16] = image[9:40:10, 9:200:16] = 30
    panes = at_night(image, label, 3)[:40].max()
    assert panes > wall + 60


def test_sky_between_branches_is_sky():
    image, label = np.full((60, 80, 3), 40, np.uint8), np.full((60, 80), VEGETATION, np.uint8)
    label[:20], image[:20] = SKY, 240
    image[30:50, 30:50] = 238
    view = describe_view(image, label, CLASSES)
    sky = Scene.of_image(image, label, CLASSES, view).sky
    assert sky[40, 40] > 0.95
    assert sky[40, 10] < 0.05


def test_a_crop_is_in_the_weather_of_its_place(scene):
    """Fog of a crop, flipped and enlarged, is that part of the fog of the whole."""
    view = View(scene.distance, Camera(1.1 * WIDTH, WIDTH / 2, 110), True)
    whole = street()
    rows, columns = slice(40, 200), slice(100, 400)
    image, label = whole.image[rows, columns][:, ::-1], whole.label[rows, columns][:, ::-1]
    at_rows = (np.arange(40, 200) + 0.5) / HEIGHT
    at_columns = ((np.arange(100, 400) + 0.5) / WIDTH)[::-1]
    crop = Scene.of_crop(image, label, CLASSES, view, at_columns, at_rows)
    assert np.array_equal(crop.distance, scene.distance[rows, columns][:, ::-1])
    assert crop.focal == pytest.approx(1.1 * WIDTH, rel=1e-3)
    assert crop.right[0] > crop.right[-1]
    for domain in DOMAINS:
        draw_weather(domain, Ranges(), np.random.default_rng(0)).put_on(crop)


def test_labels_of_nothing_known_are_no_failure():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    label = np.full((40, 60), 255, np.uint8)
    from mmseg_domino.weather import describe_view

    bare = Scene.of_image(image, label, CLASSES, describe_view(image, label, CLASSES))
    for domain in DOMAINS:
        made = draw_weather(domain, Ranges(), np.random.default_rng(0)).put_on(bare)
        assert made.shape == image.shape


@pytest.mark.parametrize(
    "ranges",
    [
        dict(strength=(0.5, 1.5)),
        dict(visibility=(300, 75)),
        dict(exposure=(0, 0)),
        dict(strength=(1,)),
    ],
)
def test_impossible_ranges_are_refused(ranges):
    with pytest.raises(ValueError, match="must be a range"):
        Ranges(**ranges)


def test_an_unknown_weather_is_refused():
    with pytest.raises(ValueError, match="not hail"):
        draw_weather("hail", Ranges(), np.random.default_rng(0))
