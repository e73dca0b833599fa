import pytest
import torch
from mmseg.registry import MODELS
from torch.nn import functional as F

import mmseg_domino.models  # noqa: F401  registers the parts

CHANNELS, D = (8, 16), 6


def levels(device, batch=2):
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(batch, c, 8 // 2**i, 8 // 2**i, generator=generator).to(device)
        for i, c in enumerate(CHANNELS)
    )


def build(**kwargs):
    config = dict(type="DominoNorm", in_channels=CHANNELS, domain_channels=D, num_groups=4)
    return MODELS.build({**config, **kwargs})


def test_each_level_is_normalised(device):
    outputs = build().to(device)(levels(device), torch.randn(2, D, device=device))
    for output, level in zip(outputs, levels(device), strict=True):
        torch.testing.assert_close(output, F.group_norm(level, 4))


def test_another_neck_may_follow(device):
    fpn = dict(type="FPN", in_channels=list(CHANNELS), out_channels=4, num_outs=2)
    neck = build(neck=fpn).to(device)
    domain = torch.randn(2, D, device=device)
    outputs = neck(levels(device), domain)
    assert [tuple(o.shape) for o in outputs] == [(2, 4, 8, 8), (2, 4, 4, 4)]
    expected = neck.neck(tuple(F.group_norm(level, 4) for level in levels(device)))
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other)


def test_a_following_neck_that_takes_the_domain_gets_it(device):
    inner = dict(type="DominoNorm", in_channels=CHANNELS, domain_channels=D, num_groups=4)
    neck = build(neck=inner, injection="none").to(device)
    with pytest.raises(ValueError, match="needs a domain embedding"):
        neck(levels(device))
    assert len(neck(levels(device), torch.randn(2, D, device=device))) == 2


def test_one_group_count_a_level(device):
    outputs = build(num_groups=(2, 8)).to(device)(levels(device), torch.zeros(2, D, device=device))
    torch.testing.assert_close(outputs[1], F.group_norm(levels(device)[1], 8))
    with pytest.raises(ValueError, match="names 1 levels, in_channels 2"):
        build(num_groups=(2,)).to(device)


def test_levels_that_do_not_fit_are_named(device):
    with pytest.raises(ValueError, match="built for 2 feature levels and got 1"):
        build().to(device)(levels(device)[:1], torch.zeros(2, D, device=device))
