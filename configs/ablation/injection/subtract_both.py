"""Subtracted in cross-attention and norms: the flagship."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="subtract"),
    neck=dict(injection="subtract"),
)
