"""DINOv2 ViT-S/14, by timm."""

_base_ = "./upernet_dinov2-l.py"
model = dict(
    backbone=dict(model="vit_small_patch14_dinov2.lvd142m"),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
)
