"""Subtracted in the norms, where no learned sign can undo it."""

_base_ = "../../domino_vpd_cityscapes.py"
model = dict(
    backbone=dict(injection="none"),
    neck=dict(injection="subtract", tied=True),
)
