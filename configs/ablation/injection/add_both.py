"""Added in cross-attention and norms."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="add"),
    neck=dict(injection="add"),
)
