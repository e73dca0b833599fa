"""One more token in cross-attention; subtracted in the norms, which have no concat."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="concat"),
    neck=dict(injection="subtract"),
)
