"""DINOv2 ViT-L/14, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    backbone=dict(type="TimmViT", model="vit_large_patch14_dinov2.lvd142m"),
)
