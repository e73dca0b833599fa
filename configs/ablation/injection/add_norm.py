"""Added in the norms; cross-attention over the classes alone."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="none"),
    neck=dict(injection="add"),
)
