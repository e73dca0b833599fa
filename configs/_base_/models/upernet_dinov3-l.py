"""DINOv3 ViT-L/16, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    backbone=dict(type="TimmViT", model="vit_large_patch16_dinov3.lvd1689m"),
)
