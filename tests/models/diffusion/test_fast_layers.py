"""The exchanged layers against diffusers' own, values and gradients."""

import copy

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from mmseg_domino.models.diffusion.fast_layers import (
    FastResnetBlock,
    ImageAttentionProcessor,
    use_fast_layers,
)
from mmseg_domino.models.kernels.cpu import OneDNNLinear

from .vpd_models import UNET, VAE, randomise


def block(**kwargs):
    options = dict(in_channels=8, out_channels=8, temb_channels=6, groups=4, eps=1e-5)
    module = ResnetBlock2D(**{**options, **kwargs})
    randomise(module)
    return module


@pytest.fixture
def inputs(device):
    generator = torch.Generator().manual_seed(0)
    x, temb = torch.randn(2, 8, 6, 5, generator=generator), torch.randn(1, 6, generator=generator)
    return x.to(device), temb.to(device)


@pytest.mark.parametrize("options", [{}, dict(out_channels=12), dict(temb_channels=None)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_residual_block(inputs, options, memory_format, device):
    x, temb = inputs
    temb = None if "temb_channels" in options else temb
    theirs = block(**options).to(device).train()
    ours = use_fast_layers(copy.deepcopy(theirs)).to(memory_format=memory_format)
    assert type(ours) is FastResnetBlock
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, result = theirs(one, temb), ours(other.to(memory_format=memory_format), temb)
    torch.testing.assert_close(result, expected)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(device)
    expected.backward(direction)
    result.backward(direction)
    torch.testing.assert_close(other.grad, one.grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)

    kept = x.clone(memory_format=torch.preserve_format)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, temb), expected)
    assert torch.equal(x, kept)  # what is written in place is the block's own
    assert result.is_contiguous(memory_format=memory_format)


def test_the_input_stays_as_it_is_without_a_norm(inputs, device):
    x, temb = inputs
    ours = use_fast_layers(block().to(device))
    ours.norm1 = nn.Identity()
    kept = x.clone()
    with torch.no_grad():
        ours(x, temb)
    assert torch.equal(x, kept)


def test_residual_block_under_autocast(inputs, device):
    theirs = block(out_channels=12).to(device)
    ours = use_fast_layers(copy.deepcopy(theirs))
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        torch.testing.assert_close(ours(*inputs).float(), theirs(*inputs).float(), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        dict(up=True),
        dict(down=True),
        dict(output_scale_factor=2.0),
        dict(time_embedding_norm="scale_shift"),
        dict(skip_time_act=True),
        dict(non_linearity="gelu"),
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_blocks_are_left_alone(options):
    assert type(use_fast_layers(block(**options))) is ResnetBlock2D


def test_autoencoder(device):
    theirs = AutoencoderKL(**VAE).eval().to(device)
    randomise(theirs)
    ours = use_fast_layers(copy.deepcopy(theirs)).to(memory_format=torch.channels_last)
    attention = ours.encoder.mid_block.attentions[0]
    assert isinstance(attention.processor, ImageAttentionProcessor)
    x = torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    with torch.no_grad():
        expected = theirs.encode(x).latent_dist.parameters
        torch.testing.assert_close(ours.encode(x).latent_dist.parameters, expected)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_unet_keeps_its_cross_attention(device):
    theirs = UNet2DConditionModel(**UNET).eval().to(device)
    randomise(theirs)
    ours = use_fast_layers(copy.deepcopy(theirs))
    kinds = [type(m) for m in ours.modules()]
    assert nn.Linear not in kinds
    assert ResnetBlock2D not in kinds
    assert OneDNNLinear in kinds
    assert not any(
        isinstance(m.processor, ImageAttentionProcessor)
        for m in ours.modules()
        if isinstance(m, Attention)
    )
    latent = torch.randn(2, 4, 16, 8).to(device)
    context = torch.randn(2, 5, UNET["cross_attention_dim"]).to(device)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(latent, 1, context).sample, theirs(latent, 1, context).sample, rtol=1e-4, atol=1e-5
        )
