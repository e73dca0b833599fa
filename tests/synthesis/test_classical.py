import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset

from mmseg_domino.synthesis import classical
from mmseg_domino.synthesis.generators import Request
from mmseg_domino.synthesis.weather import ClassicalWeather, DepthFiles

from .scenes import SIZE, SKY, scene, write_disparity

CLASSES = tuple(CityscapesDataset.METAINFO["classes"])


def request(domain, seed=1, name="town/town_000000_000019"):
    image, label = scene(0)
    return Request(name, domain, image, label, CLASSES, image, "", "", seed)


def test_linear_light_and_back():
    values = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    assert np.array_equal(classical.from_linear(classical.to_linear(values)), values)
    # IEC 61966-2-1: half of the light is the level 188.
    assert classical.from_linear(np.full((1, 1, 3), 0.5))[0, 0, 0] == 188


def test_disparity_as_cityscapes_defines_it():
    stored = np.array([[0, 1, 257, 257 + 256 * 9]], np.uint16)
    depth = classical.disparity_to_depth(stored, baseline=0.2, focal=2000)
    assert np.isnan(depth[0, 0])
    assert np.isinf(depth[0, 1])
    assert depth[0, 2:] == pytest.approx([400, 40])
    with pytest.raises(ValueError, match="uint16"):
        classical.disparity_to_depth(stored.astype(np.uint8), 0.2, 2000)


def test_fog_is_koschmieders_law():
    rng = np.random.default_rng(0)
    light = rng.random((40, 60, 3), dtype=np.float32)
    depth = rng.uniform(1, 500, (40, 60)).astype(np.float32)
    foggy = classical.fog(light, depth, visibility=150)
    transmission = np.exp(-2.9957323 / 150 * depth)[..., None]
    air = classical.airlight(light)
    assert foggy == pytest.approx(light * transmission + air * (1 - transmission), abs=1e-5)
    # At the meteorological optical range 5 % of the contrast is left.
    flat = np.zeros((40, 60, 3), np.float32)
    flat[:10] = 0.8
    contrast = classical.fog(flat, np.full((40, 60), 150, np.float32), 150)
    assert contrast[5, 5, 0] - contrast[30, 5, 0] == pytest.approx(0.05 * 0.8, abs=1e-4)


def test_airlight_is_that_of_the_haziest_place():
    light = np.full((80, 80, 3), 0.2, np.float32)
    light[:20] = (0.7, 0.75, 0.8)
    light[60, 60] = 1.0  # a lamp is bright, but not haze
    assert classical.airlight(light) == pytest.approx([0.7, 0.75, 0.8])


def test_filled_depth_keeps_what_is_known():
    true = np.linspace(100, 5, 60, dtype=np.float32)[:, None].repeat(80, 1)
    holes = np.random.default_rng(0).random(true.shape) < 0.3
    sky = np.zeros(true.shape, bool)
    sky[:8] = True
    depth = np.where(holes | sky, np.nan, true)
    image = np.full((60, 80, 3), 128, np.uint8)
    filled = classical.fill_depth(depth, image, sky, far=1000)
    assert (filled[sky] == 1000).all()
    inner = ~sky
    inner[:14] = False
    error = np.abs(filled - true)[inner] / true[inner]
    assert error.mean() < 0.05
    assert np.isfinite(filled).all()
    with pytest.raises(ValueError, match="no known value"):
        classical.fill_depth(np.full((5, 5), np.nan), image[:5, :5], sky[:5, :5])


@pytest.mark.parametrize("domain", ["night", "rain", "snow"])
def test_weather_depends_on_the_seed_alone(domain):
    generator = ClassicalWeather()
    first, again, other = generator.generate(
        [request(domain, 1), request(domain, 1), request(domain, 2)]
    )
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (*SIZE, 3)
    assert first.problem is None


def test_what_each_weather_does_to_the_light(tmp_path):
    generator = ClassicalWeather(depth=dict(root=str(write_disparity(tmp_path))))
    real = request("fog")
    images = {d: generator.generate([request(d)])[0].image for d in generator.DOMAINS}
    road, sky = real.label == 0, real.label == SKY

    def spread(image):
        return float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[~sky].std())

    def saturation(image):
        return float((image.max(2).astype(int) - image.min(2)).mean())

    assert spread(images["fog"]) < spread(real.image)  # contrast goes
    assert images["night"][sky].mean() < 0.3 * real.image[sky].mean()
    assert saturation(images["rain"]) < saturation(real.image)
    covered = classical.to_linear(images["snow"])[real.label == 1].mean()
    assert covered > classical.to_linear(images["rain"])[real.label == 1].mean()
    assert images["night"][road].std() > 0


def test_fog_needs_depth_and_says_which_is_missing(tmp_path):
    with pytest.raises(ValueError, match="disparity_trainvaltest"):
        ClassicalWeather().check_domains(["fog"])
    with pytest.raises(ValueError, match="not sandstorm"):
        ClassicalWeather().check_domains(["night", "sandstorm"])
    generator = ClassicalWeather(depth=dict(root=str(write_disparity(tmp_path))))
    generator.check_domains(["fog", "night", "rain", "snow"])
    missing = generator.generate([request("fog", name="town/unknown")])[0]
    assert missing.image is None
    assert "unknown_disparity.png is missing" in missing.problem


def test_depth_files_of_other_kinds(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 3), 7.5))
    assert DepthFiles(str(tmp_path), ".npy", "depth").read("a").tolist() == [[7.5] * 3] * 2
    cv2.imwrite(str(tmp_path / "b.png"), np.array([[0, 250]], np.uint16))
    depth = DepthFiles(str(tmp_path), ".png", "depth", image_suffix="_rgb", scale=0.1)
    assert np.isnan(depth.read("b_rgb")[0, 0])
    assert depth.read("b_rgb")[0, 1] == pytest.approx(25)
    camera = '{"extrinsic": {"baseline": 0.5}, "intrinsic": {"fx": 100}}'
    (tmp_path / "c_camera.json").write_text(camera)
    cv2.imwrite(str(tmp_path / "c_disparity.png"), np.array([[2561]], np.uint16))
    disparity = DepthFiles(str(tmp_path), camera_root=str(tmp_path))
    assert disparity.read("c")[0, 0] == pytest.approx(5.0)
    with pytest.raises(ValueError, match="kind"):
        DepthFiles("x", kind="stereo")


def test_runs_that_read_depth_differently_are_told_apart():
    kinds = [
        None,
        dict(root="a"),
        dict(root="a", focal=1000.0),
        dict(root="a", camera_root="c"),
        dict(root="a", kind="depth"),
        dict(root="a", kind="depth", scale=1.0),
    ]
    described = [str(ClassicalWeather(depth=kind).describe()) for kind in kinds]
    assert len(set(described)) == len(kinds)
    # Where the same files lie does not matter.
    assert str(ClassicalWeather(depth=dict(root="elsewhere")).describe()) == described[1]
