"""Necks and heads over a backbone that says what it gives."""

import pytest
import torch
from mmseg.registry import MODELS

import mmseg_domino.models  # noqa: F401  registers the parts

from .diffusion.vpd_models import ARCHITECTURE

N, D = 5, 12
BACKBONE = dict(
    type="DominoVPD", weights=dict(name="random", architecture=ARCHITECTURE),
    classes=dict(count=N), injection="none",
)  # fmt: skip
CHANNELS = [8, 8 + N, 16 + N, 16]


def build(neck=None, **head):
    fpn = dict(type="FPNHead", in_index=[0, 1, 2, 3], feature_strides=[8, 16, 32, 64], channels=8,
               num_classes=N, norm_cfg=dict(type="BN"), **head)  # fmt: skip
    config = dict(type="DominoEncoderDecoder", backbone=BACKBONE, decode_head=fpn, neck=neck)
    return MODELS.build(config).eval()


def test_a_neck_learns_its_channels_and_which_of_them_are_maps():
    model = build(
        dict(type="DominoNorm", domain_channels=D, norm="layer",
             neck=dict(type="FPN", out_channels=8, num_outs=4)),
        in_channels=[8] * 4,
    )  # fmt: skip
    assert model.neck.map_channels == (0, N, N, 0)
    assert list(model.neck.in_channels) == CHANNELS == model.neck.neck.in_channels
    features = model.backbone(torch.rand(1, 3, 64, 128))
    assert len(model.neck(features, torch.zeros(1, D))) == 4


def test_plain_vpd_has_no_norm_between_features_and_fpn():
    model = build(dict(type="FPN", out_channels=8, num_outs=4), in_channels=[8] * 4)
    assert model.neck.in_channels == CHANNELS
    assert model(torch.rand(1, 3, 64, 128)).shape == (1, N, 8, 16)


def test_a_head_without_a_neck_learns_its_channels():
    assert build().decode_head.in_channels == CHANNELS


def test_channels_that_are_not_the_backbones_are_refused():
    with pytest.raises(ValueError, match=r"\[8, 8, 16, 16\] and DominoVPD gives \[8, 13, 21, 16\]"):
        build(dict(type="FPN", in_channels=[8, 8, 16, 16], out_channels=8, num_outs=4))
