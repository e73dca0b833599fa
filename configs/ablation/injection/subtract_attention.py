"""Subtracted in cross-attention; plain norms."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="subtract"),
    neck=dict(injection="none"),
)
