import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from mmseg_domino.domain.preprocessing import preprocess_tensor

SIZES = [(60, 90), (90, 60), (32, 32), (20, 50), (333, 257), (37, 211)]


def _spec(**changes):
    spec = {
        "size": 32,
        "mean": (0.48, 0.46, 0.41),
        "std": (0.27, 0.26, 0.28),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
    return spec | changes


def _image(size):
    coarse = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def _difference(image, spec):
    """Largest difference from open_clip's own transform, in steps of 8-bit pixels."""
    expected = image_transform_v2(PreprocessCfg(**spec), is_train=False)(image)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    result = preprocess_tensor(pixels, spec)
    assert result.shape == expected.shape
    std = torch.tensor(spec["std"]).view(3, 1, 1)
    return float(((result - expected) * std * 255).abs().max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_equals_open_clip_to_one_step_of_a_pixel(size, interpolation, mode):
    spec = _spec(interpolation=interpolation, resize_mode=mode, fill_color=7)
    assert _difference(_image(size), spec) < 1.01


def test_takes_an_input_that_is_not_square():
    assert _difference(_image((60, 100)), _spec(size=(32, 48), resize_mode="squash")) < 1.01
    assert _difference(_image((60, 100)), _spec(size=(32, 48))) < 1.01


def test_does_not_change_an_image_that_fits():
    assert _difference(_image((32, 32)), _spec()) < 1e-4


def test_real_frames(shared):
    """What docs/domains.md says about photographs."""
    frames = sorted((shared / "camvid" / "img" / "dusk" / "val").glob("*.jpg"))[:3]
    for frame in frames:
        assert _difference(Image.open(frame).convert("RGB"), _spec(size=224)) < 1.01


def test_refuses_what_is_not_an_image():
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        preprocess_tensor(torch.zeros(4, 4, 3), _spec())
    with pytest.raises(ValueError, match="shortest, longest, squash"):
        preprocess_tensor(torch.zeros(3, 4, 4), _spec(resize_mode="fit"))
