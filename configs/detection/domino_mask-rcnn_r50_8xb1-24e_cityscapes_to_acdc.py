"""Mask R-CNN, ResNet-50 with domain-adaptive norms: Cityscapes' instances to ACDC."""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/detection_cityscapes_to_acdc.py",
]
model = dict(
    # Its statistics stay, its norms are Domino's; scales and shifts are trained.
    backbone=dict(frozen_stages=-1),
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)),
)
