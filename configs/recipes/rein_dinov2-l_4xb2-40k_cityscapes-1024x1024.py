"""Rein on DINOv2 ViT-L, Cityscapes to ACDC, crops of 1024 x 1024."""

_base_ = [
    "../_base_/models/mask2former_dinov2-l.py",
    "../_base_/recipes/cityscapes_1024x1024.py",
    "../_base_/recipes/rein.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(options=dict(img_size=1024)),
    decode_head=dict(type="ReinMask2FormerHead"),
)
domino = dict(test_scale=(2048, 1024))  # as in the original
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=10000, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=10000, end=40000, by_epoch=False),
]
