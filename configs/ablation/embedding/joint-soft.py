"""Soft text in the joint space, through the norms alone: what joint-image compares with."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="soft", space="joint")
model = dict(
    backbone=dict(injection="none"),
    neck=dict(domain_channels=_base_.joint_channels),
)
