"""The street world: determinism, geometry, weather's laws, variety."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from street_world.street import (
    CLASSES,
    DOMAINS,
    HELD_OUT_DOMAINS,
    PALETTE,
    build,
    render,
    sample_scene,
)
from street_world.street.classes import ROAD, SIDEWALK, SKY, TERRAIN, label_ids
from street_world.street.conditions import conditions
from street_world.street.light import surface_radiance
from street_world.street.weather import koschmieder, optical_path

ALL_DOMAINS = (*DOMAINS, *HELD_OUT_DOMAINS)
SIZE = (96, 192)


def digest(seed: int, domain: str) -> str:
    picture = render(sample_scene(seed, SIZE), domain, 0.7)
    parts = (picture.image, picture.label, picture.depth)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(seed, SIZE) for seed in range(12)]


@pytest.fixture(scope="module")
def geometries(scenes):
    return [build(scene) for scene in scenes]


def test_same_bytes_in_another_process():
    program = (
        "from tests.street_world.test_street import digest; "
        "print(digest(5, 'rain'), digest(6, 'night'))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    # The other order here: no picture may depend on what was drawn before it.
    night, rain = digest(6, "night"), digest(5, "rain")
    assert output.split() == [rain, night]


def test_seeds_differ():
    assert len({digest(seed, "clear_day") for seed in range(6)}) == 6


def test_numpy_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    render(sample_scene(1, SIZE), "snow")
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("domain", ALL_DOMAINS)
def test_strength_zero_is_the_clear_day(scenes, geometries, domain):
    clear = render(scenes[3], "clear_day", geometry=geometries[3]).image
    np.testing.assert_array_equal(render(scenes[3], domain, 0.0, geometries[3]).image, clear)


@pytest.mark.parametrize("domain", [name for name in ALL_DOMAINS if name != "clear_day"])
def test_strength_is_continuous(scenes, geometries, domain):
    """A step of 1/16 never changes the picture by a large part of what the whole way does."""
    steps = [
        render(scenes[2], domain, step / 16, geometries[2]).image.astype(np.float32)
        for step in range(17)
    ]
    whole = np.abs(steps[16] - steps[0]).mean()
    jumps = [np.abs(b - a).mean() for a, b in pairwise(steps)]
    assert whole > 15
    assert max(jumps) < 0.4 * whole


@pytest.mark.parametrize("domain", ALL_DOMAINS)
def test_domain_changes_neither_label_nor_depth(scenes, geometries, domain):
    picture = render(scenes[0], domain, 0.9)
    np.testing.assert_array_equal(picture.label, geometries[0].buffer.label)
    np.testing.assert_array_equal(picture.depth, geometries[0].buffer.depth)


def test_depth_is_infinite_exactly_in_the_sky(geometries):
    for geometry in geometries:
        buffer = geometry.buffer
        np.testing.assert_array_equal(np.isinf(buffer.depth), buffer.label == SKY)
        assert (buffer.depth > 0).all()


def test_ground_lies_below_the_horizon_at_the_depth_of_the_plane(scenes, geometries):
    for scene, geometry in zip(scenes, geometries, strict=True):
        camera, buffer = scene.camera, geometry.buffer
        ground = np.isin(buffer.label, (ROAD, SIDEWALK, TERRAIN))
        rows = np.nonzero(ground)[0] + 0.5
        assert (rows > camera.horizon).all()
        expected = camera.focal * camera.height / (rows - camera.horizon)
        np.testing.assert_allclose(buffer.depth[ground], np.minimum(expected, 1e4), rtol=2e-3)


def test_no_sky_under_the_ground(scenes, geometries):
    for scene, geometry in zip(scenes, geometries, strict=True):
        below = int(scene.camera.horizon) + 2
        assert not (geometry.buffer.label[below:] == SKY).any()


def test_size_does_not_change_the_scene():
    small, large = (build(sample_scene(4, size)) for size in ((64, 128), (256, 512)))
    coarse = large.buffer.label[2::4, 2::4]
    assert (coarse == small.buffer.label).mean() > 0.93


def test_fog_follows_koschmieder(scenes, geometries):
    """Against the formula in float64: only rounding may differ."""
    scene, geometry = scenes[1], geometries[1]
    state = conditions(scene, "fog", 0.6)
    radiance = surface_radiance(scene, geometry, state)
    depth, camera = geometry.buffer.depth.astype(np.float64), scene.camera
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
    x = (columns - camera.centre) / camera.focal
    y = (camera.horizon - rows) / camera.focal
    distance = depth * np.sqrt(1 + x**2 + y**2)
    solid = np.isfinite(depth) & (y * depth < 50)  # below the fog's upper boundary
    t = np.exp(-state.beta * distance[solid])[:, None]
    expected = radiance[solid].astype(np.float64) * t + np.array(state.airlight) * (1 - t)
    foggy = koschmieder(
        radiance, optical_path(geometry.buffer.depth, camera), state.beta, state.airlight
    )
    assert solid.mean() > 0.5
    np.testing.assert_allclose(foggy[solid], expected, rtol=2e-5, atol=1e-6)


def test_thin_fog_leaves_the_sky(scenes, geometries):
    path = optical_path(geometries[0].buffer.depth, scenes[0].camera)
    assert np.isfinite(path).all()
    sky = np.full((*SIZE, 3), 0.3, np.float32)
    np.testing.assert_allclose(koschmieder(sky, path, 1e-9, (1.0, 1.0, 1.0)), sky, atol=1e-5)


def test_weather_reads_as_itself(scenes, geometries):
    """Night is darker on the whole; fog takes the edges and snow whitens the ground everywhere."""
    light = []
    for scene, geometry in list(zip(scenes, geometries, strict=True))[:6]:
        pictures = {
            domain: render(scene, domain, 1.0, geometry).image.astype(np.float32).mean(2)
            for domain in DOMAINS
        }
        light.append([pictures["night"].mean(), pictures["clear_day"].mean()])
        edges = {name: np.abs(np.diff(picture)).mean() for name, picture in pictures.items()}
        assert edges["fog"] < 0.6 * edges["clear_day"]
        ground = np.isin(geometry.buffer.label, (ROAD, SIDEWALK, TERRAIN))
        assert pictures["snow"][ground].mean() > pictures["clear_day"][ground].mean() + 15
    night, day = np.mean(light, 0)
    assert night < 0.65 * day


def test_every_class_appears():
    seen = np.zeros(256, int)
    for seed in range(60):
        seen[np.unique(build(sample_scene(seed, SIZE)).buffer.label)] += 1
    missing = [name for index, name in enumerate(CLASSES) if seen[index] == 0]
    assert missing == []
    assert set(np.flatnonzero(seen)) <= {*range(19), 255}


def test_captions_name_what_is_there(scenes, geometries):
    for scene, geometry in zip(scenes, geometries, strict=True):
        picture = render(scene, "fog", 0.9, geometry)
        assert "dense fog" in picture.caption
        cars = (picture.label == CLASSES.index("car")).mean()
        assert ("cars" in picture.caption) == (cars >= 0.003)
        assert "clear" in render(scene, "fog", 0.01, geometry).caption


def test_label_ids_turn_back_into_training_numbers():
    """Against the host framework's class order: its list of names is an independent source."""
    from mmseg.datasets import CityscapesDataset

    assert CityscapesDataset.METAINFO["classes"] == CLASSES
    assert [tuple(colour) for colour in CityscapesDataset.METAINFO["palette"]] == list(PALETTE)
    numbers = label_ids(np.array([[0, 10, 16, 18, 255]], np.uint8))
    assert numbers.tolist() == [[7, 23, 31, 33, 1]]


def test_bad_input_is_named(scenes):
    with pytest.raises(ValueError, match="-1"):
        sample_scene(-1)
    with pytest.raises(ValueError, match=r"\(16, 512\)"):
        sample_scene(0, (16, 512))
    with pytest.raises(ValueError, match=r"'hail'.*heavy_rain_night"):
        render(scenes[0], "hail")
    with pytest.raises(ValueError, match=r"1\.5"):
        conditions(scenes[0], "fog", 1.5)


def test_bonnet_is_ignored():
    scene = sample_scene(0, SIZE)
    scene = replace(scene, look=replace(scene.look, bonnet=0.1))
    assert (build(scene).buffer.label[-1] == 255).mean() > 0.5
