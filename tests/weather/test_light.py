import cv2
import numpy as np
import pytest

from mmseg_domino.weather.light import from_linear, luminance, soften, to_linear


def test_linear_light_and_back():
    values = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    assert np.array_equal(from_linear(to_linear(values)), values)
    # IEC 61966-2-1: half of the light is the level 188.
    assert from_linear(np.full((1, 1, 3), 0.5))[0, 0, 0] == 188
    assert from_linear(np.float32([[[-1.0, 0.0, 2.0]]])).tolist() == [[[0, 0, 255]]]


def test_luminance_is_rec_709s():
    assert luminance(np.ones((2, 2, 3), np.float32)) == pytest.approx(np.ones((2, 2)), abs=1e-6)
    assert luminance(np.float32([[[0, 1, 0]]]))[0, 0] == pytest.approx(0.7152)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 20.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_softening_is_a_gaussian_blur(sigma, channels):
    image = np.random.default_rng(0).random((160, 240, channels), np.float32).squeeze()
    exact = cv2.GaussianBlur(image, (0, 0), sigma)
    assert np.abs(soften(image, sigma) - exact).mean() < 0.01
