import pytest
import torch
from mmseg.registry import MODELS
from torch.nn import functional as F

import mmseg_domino.models  # noqa: F401  registers the parts

CHANNELS, D = (8, 16), 6


def levels(batch=2, maps=(0, 0), device="cpu"):
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(batch, c, 8 // 2**i, 8 // 2**i, generator=generator) * 3 + 1
        for i, c in enumerate(CHANNELS)
    ]
    attention = [
        torch.randn(batch, n, *f.shape[2:], generator=generator).softmax(dim=1)
        for n, f in zip(maps, features, strict=True)
    ]
    return tuple(torch.cat(pair, 1).to(device) for pair in zip(features, attention, strict=True))


def build(**kwargs):
    config = dict(type="DominoNorm", in_channels=CHANNELS, domain_channels=D, num_groups=4)
    return MODELS.build({**config, **kwargs})


def plain(norm, x):
    """The normalisations of PyTorch itself, without affine parameters."""
    if norm == "group":
        return F.group_norm(x, 4)
    if norm == "instance":
        return F.instance_norm(x)
    if norm == "layer":
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)
    return F.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("injection", ["add", "subtract", "none"])
@pytest.mark.parametrize("norm", ["group", "layer", "instance", "batch"])
def test_it_starts_as_the_plain_norm_of_each_level(norm, injection, device):
    neck, given = build(norm=norm, injection=injection).to(device), levels(device=device)
    outputs = neck(given, torch.randn(2, D, device=device))
    for output, level in zip(outputs, given, strict=True):
        torch.testing.assert_close(output, plain(norm, level))


@pytest.mark.parametrize(("injection", "sign"), [("add", 1), ("subtract", -1)])
@pytest.mark.parametrize("tied", [False, True])
def test_one_network_modulates_all_levels(injection, sign, tied, device):
    neck, given = build(injection=injection, tied=tied).to(device), levels(device=device)
    for parameter in neck.domain.parameters():
        torch.nn.init.uniform_(parameter)
    domain = torch.randn(2, D, device=device)
    values = sign * neck.domain.modulation(domain)
    outputs, first = neck(given, domain), 0
    for output, level in zip(outputs, given, strict=True):
        g, h = values[:, :, first : first + level.shape[1], None, None].unbind(1)
        torch.testing.assert_close(output, (1 + g) * F.group_norm(level, 4) + h)
        first += level.shape[1]


def test_attention_maps_pass_beside_the_norm(device):
    maps = (0, 5)
    neck = build(in_channels=(8, 21), map_channels=maps, norm="layer").to(device)
    torch.nn.init.normal_(neck.domain.modulation.out.weight)
    given, domain = levels(maps=maps, device=device), torch.randn(2, D, device=device)
    attention, passed = given[1][:, 16:], neck(given, domain)[1][:, 16:]
    torch.testing.assert_close(passed, attention * 5)
    assert passed.mean().item() == pytest.approx(1.0)
    without = torch.cat([given[1][:, :16], attention * 0], dim=1)
    alone, again = neck((given[0], without), domain * 0), neck(given, domain * 0)
    assert torch.equal(again[1][:, :16], alone[1][:, :16])
    scaled = build(in_channels=(8, 21), map_channels=maps, norm="layer", map_scale=2.0).to(device)
    torch.testing.assert_close(scaled(given, domain)[1][:, 16:], attention * 2)


def test_without_a_norm_the_levels_are_as_they_were():
    given = levels(maps=(0, 5))
    neck = build(in_channels=(8, 21), map_channels=(0, 5), norm="none", injection="none")
    assert all(map(torch.equal, neck(given), given))
    assert not list(neck.parameters())
    with pytest.raises(ValueError, match="'subtract' would have no effect without a norm"):
        build(norm="none")


def test_another_neck_may_follow_and_learns_its_channels(device):
    neck = build(
        in_channels=(8, 21),
        map_channels=(0, 5),
        neck=dict(type="FPN", out_channels=4, num_outs=2),
    ).to(device)
    given, domain = levels(maps=(0, 5), device=device), torch.randn(2, D, device=device)
    outputs = neck(given, domain)
    assert [tuple(o.shape) for o in outputs] == [(2, 4, 8, 8), (2, 4, 4, 4)]
    features, attention = given[1].split([16, 5], dim=1)
    expected = neck.neck(
        (F.group_norm(given[0], 4), torch.cat([F.group_norm(features, 4), attention * 5], dim=1))
    )
    for output, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, other)


def test_a_following_neck_that_takes_the_domain_gets_it():
    inner = dict(type="DominoNorm", domain_channels=D, num_groups=4, space="context")
    neck = build(neck=inner, space="joint")
    both = dict(joint=torch.randn(2, D), context=torch.randn(2, D))
    assert len(neck(levels(), both)) == 2
    with pytest.raises(ValueError, match="carry domain embeddings of joint, and DomainNorms takes"):
        neck(levels(), dict(joint=both["joint"]))


def test_one_group_count_a_level():
    outputs = build(num_groups=(2, 8))(levels(), torch.zeros(2, D))
    torch.testing.assert_close(outputs[1], F.group_norm(levels()[1], 8))
    with pytest.raises(ValueError, match="num_groups names 1 levels, in_channels 2"):
        build(num_groups=(2,))


def test_bad_arguments_are_explained():
    with pytest.raises(ValueError, match=r"unknown norm 'gruop'; valid ones are group, layer"):
        build(norm="gruop")
    with pytest.raises(ValueError, match="unknown injection 'minus'; valid ones are add"):
        build(injection="minus")
    with pytest.raises(ValueError, match=r"num_groups=3 does not divide the 8 .*\[1, 2, 4, 8\]"):
        build(num_groups=3)
    with pytest.raises(ValueError, match="needs domain_channels"):
        build(domain_channels=None)
    with pytest.raises(ValueError, match="built for 2 feature levels and got 1"):
        build()(levels()[:1], torch.zeros(2, D))
    with pytest.raises(ValueError, match=r"8 channels and 0 attention maps and expects \(B, 8, H"):
        build()((levels()[0][:, :4], levels()[1]), torch.zeros(2, D))
    with pytest.raises(ValueError, match=r"needs a domain embedding .* got none"):
        build()(levels())
    with pytest.raises(ValueError, match=r"shape \(2, 6\), got \(2, 5\)"):
        build()(levels(), torch.zeros(2, 5))
