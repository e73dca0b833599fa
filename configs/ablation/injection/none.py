"""No domain anywhere: the same network, source only."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="none"),
    neck=dict(injection="none"),
)
