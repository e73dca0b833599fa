"""Sliding windows over the diffusion backbone itself."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS

import mmseg_domino.models  # noqa: F401  registers the parts

from ..diffusion.vpd_models import ARCHITECTURE, UNET, randomise

N, SIZE = 5, (96, 136)


def build(**test_cfg):
    torch.manual_seed(0)
    width = UNET["cross_attention_dim"]
    model = MODELS.build(
        ConfigDict(
            type="DominoEncoderDecoder",
            backbone=dict(
                type="DominoVPD",
                weights=dict(name="random", architecture=ARCHITECTURE),
                classes=dict(count=N),
                attention=dict(gate=False),
            ),
            neck=dict(
                type="DominoNorm", domain_channels=width,
                norm="layer", hidden_channels=8,
                neck=dict(type="FPN", out_channels=8, num_outs=4),
            ),
            decode_head=dict(
                type="FPNHead", in_channels=[8] * 4, in_index=[0, 1, 2, 3],
                feature_strides=[8, 16, 32, 64], channels=8, num_classes=N, dropout_ratio=0,
                norm_cfg=dict(type="BN"),
            ),
            train_cfg=dict(),
            test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(43, 43), **test_cfg),
        )
    )  # fmt: skip
    randomise(model.backbone)
    randomise(model.neck)
    return model.eval()


@pytest.fixture
def data(device):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, *SIZE, generator=generator) * 2 - 1
    domain = torch.randn(2, UNET["cross_attention_dim"], generator=generator)
    return images.to(device), domain.to(device), [dict(img_shape=SIZE) for _ in range(2)]


@torch.no_grad()
def slide(model, data, method=None):
    images, domain, metas = data
    with model._conditioned_on(domain):
        return (method or type(model).slide_inference)(model, images, copy.deepcopy(metas))


@pytest.mark.parametrize("windows_per_batch", [1, 5])
def test_equal_to_the_stock_loop(data, windows_per_batch, device):
    model = build(windows_per_batch=windows_per_batch).to(device)
    expected = slide(model, data, EncoderDecoder.slide_inference)
    result = slide(model, data)
    assert (result - expected).abs().max() < 1e-5 * expected.abs().max()


def test_keys_of_the_class_tokens_are_made_once_an_image(data, device):
    model = build(windows_per_batch=4).to(device)
    rows = []
    for name, module in model.backbone.unet.named_modules():
        if name.endswith("attn2.to_k"):
            module.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
    slide(model, data)
    assert set(rows) == {2}


def test_one_latent_is_encoded_once(data, device):
    model = build(windows_per_batch=4, latent="image").to(device)
    sizes = []
    model.backbone.vae.register_forward_pre_hook(lambda _m, args: sizes.append(args[0].shape))
    result = slide(model, data)
    assert sizes == [(2, 3, *SIZE)]
    assert result.shape == (2, N, *SIZE)
    # Windows see over their borders, so it is close to the exact result and not the same.
    exact = slide(build(windows_per_batch=4).to(device), data)
    assert not torch.allclose(result, exact, atol=1e-4)
    correlation = torch.corrcoef(torch.stack([result.flatten(), exact.flatten()]))[0, 1]
    assert correlation > 0.9


def test_one_window_that_is_the_image(data, device):
    """Nothing lies beyond the borders then, and the two agree."""
    images, domain, _ = data
    square = images[..., :64, :64], domain, [dict(img_shape=(64, 64))] * 2
    exact, once = slide(build().to(device), square), slide(build(latent="image").to(device), square)
    torch.testing.assert_close(once, exact)
