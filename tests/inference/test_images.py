"""Images in every form, against the training stack's own preparation."""

import io

import cv2
import numpy as np
import open_clip
import pytest
import torch
from mmcv.transforms import Resize
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch.nn import functional as F

from mmseg_domino.inference.images import as_rgb, encoder_pixels, network_pixels, resize_logits


def photo(height=60, width=90, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(kind, image, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, kind, **options)
    return file.getvalue()


def test_an_image_in_every_form():
    rgb = photo()
    np.testing.assert_array_equal(as_rgb(encoded("PNG", rgb)), rgb)
    alpha = np.dstack([rgb, np.full(rgb.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(as_rgb(alpha), rgb)
    np.testing.assert_array_equal(as_rgb(encoded("PNG", rgb, "RGBA")), rgb)
    grey = rgb[..., 0]
    for given in (grey, grey[..., None], encoded("PNG", grey, "L")):
        np.testing.assert_array_equal(as_rgb(given), np.dstack([grey] * 3))
    deep = rgb.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(as_rgb(deep), rgb)
    png = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(as_rgb(png), rgb)


def test_exif_turns_and_cmyk_is_converted():
    rgb = photo()
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn clockwise
    turned = as_rgb(encoded("JPEG", rgb, quality=95, exif=exif))
    assert turned.shape == (90, 60, 3)
    assert np.abs(turned.astype(int) - np.rot90(rgb, -1)).mean() < 4
    printed = as_rgb(encoded("JPEG", rgb, "CMYK", quality=95))
    assert np.abs(printed.astype(int) - rgb).mean() < 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "got \\(4, 4, 3\\) float32"),
        (np.zeros((4, 4, 2), np.uint8), "got \\(4, 4, 2\\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), "got \\(0, 4, 3\\) uint8"),
        (b"no image", "the image given as bytes cannot be decoded"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_image_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        as_rgb(given)


@pytest.mark.parametrize(
    "resize",
    [
        dict(scale=(96, 48), keep_ratio=True),
        dict(scale=(50, 41)),
        dict(scale_factor=(0.7, 1.3)),
        dict(scale_factor=(0.7, 1.3), keep_ratio=True),
    ],
)
@pytest.mark.parametrize("swap", [True, False])
def test_network_pixels_are_those_of_the_test(resize, swap):
    rgb, mean, std = photo(), [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    stock = Resize(**resize)(dict(img=rgb[..., ::-1].copy(), img_shape=rgb.shape[:2]))["img"]
    preprocessor = SegDataPreProcessor(
        mean, std, bgr_to_rgb=swap, pad_val=3, test_cfg=dict(size_divisor=32)
    )
    inputs = [torch.from_numpy(stock.transpose(2, 0, 1).copy())]
    expected = preprocessor(dict(inputs=inputs, data_samples=[SegDataSample()]))["inputs"][0]
    spec = dict(
        resize=[
            dict(
                scale=resize.get("scale"),
                factor=resize.get("scale_factor"),
                keep_ratio=resize.get("keep_ratio", False),
            )
        ],
        channel_order="rgb" if swap else "bgr",
        mean=mean,
        std=std,
        pad=dict(size=None, divisor=32, value=3),
    )
    pixels, size = network_pixels(rgb, spec)
    assert size == stock.shape[:2]
    np.testing.assert_allclose(pixels, expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(61, 90), (90, 61), (20, 30), (32, 32)])
def test_encoder_pixels_are_open_clips(mode, size):
    rgb = photo(*size)
    cfg = PreprocessCfg(
        size=32, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD,
        resize_mode=mode, fill_color=9,
    )  # fmt: skip
    expected = image_transform_v2(cfg, is_train=False)(Image.fromarray(rgb))
    spec = dict(
        size=32, mean=cfg.mean, std=cfg.std, resize_mode=mode, fill_color=9,
        interpolation=cfg.interpolation,
    )  # fmt: skip
    np.testing.assert_allclose(encoder_pixels(rgb, spec), expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("size", [(17, 40), (31, 9), (12, 20)])
def test_logits_are_resized_as_torch_does(align, size):
    logits = np.random.default_rng(0).standard_normal((3, 12, 20)).astype(np.float32)
    expected = F.interpolate(
        torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=align
    )[0]
    found = resize_logits(logits, size, align)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
