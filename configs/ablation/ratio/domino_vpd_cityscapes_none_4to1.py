"""Real:synthetic 4:1 without the domain: what mixing brings by itself."""

_base_ = "../../synthesis/domino_vpd_cityscapes_4to1.py"
model = dict(
    backbone=dict(injection="none"),
    neck=dict(injection="none"),
)
