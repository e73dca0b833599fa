import sys

import numpy as np
import pytest

from mmseg_domino.datasets.transforms.corruption import CORRUPTIONS, Corrupt

pytest.importorskip("imagecorruptions", reason="needs the optional extra 'corruptions'")
RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow",
          "frost", "fog", "elastic_transform"}  # fmt: skip


@pytest.fixture(scope="module")
def image():
    ramp = np.linspace(20, 220, 48 * 64 * 3).reshape(48, 64, 3)
    return (ramp + np.random.default_rng(0).normal(0, 9, ramp.shape)).clip(0, 255).astype(np.uint8)


def corrupt(image, corruption, severity=3, name="a/frankfurt_000000_leftImg8bit.png"):
    return Corrupt(corruption, severity)({"img": image.copy(), "img_path": name})["img"]


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_depends_on_the_files_name_alone(image, corruption):
    np.random.seed(1)
    first = corrupt(image, corruption)
    np.random.seed(2)
    again = corrupt(image, corruption, name="b/frankfurt_000000_leftImg8bit.png")
    assert np.array_equal(first, again)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, image)
    other = corrupt(image, corruption, name="a/frankfurt_000001_leftImg8bit.png")
    assert np.array_equal(first, other) == (corruption not in RANDOM)


def test_leaves_the_random_state_alone(image):
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    corrupt(image, "gaussian_noise")
    assert np.array_equal(np.random.random(3), expected)


def test_keeps_the_order_of_channels(image):
    blue = np.zeros_like(image)
    blue[..., 0] = 200
    corrupted = corrupt(blue, "jpeg_compression", 1)
    assert corrupted[..., 0].mean() > 150 > corrupted[..., 2].mean()


def test_severity_is_more_damage(image):
    def damage(severity):
        return np.abs(corrupt(image, "gaussian_noise", severity).astype(float) - image).mean()

    assert damage(1) < damage(3) < damage(5)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="unknown corruption 'haze'"):
        Corrupt("haze", 3)
    with pytest.raises(ValueError, match="severity must be from 1 to 5, got 6"):
        Corrupt("fog", 6)


def test_a_missing_package_says_what_to_install(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ImportError, match="pip install imagecorruptions-imaug"):
        corrupt(image, "fog")


def test_a_name_that_is_no_utf_8_is_a_name(image):
    assert not np.array_equal(corrupt(image, "fog", name="/x/caf\udce9.png"), image)
