"""DINOv2 ViT-B/14, by timm."""

_base_ = "./upernet_dinov2-l.py"
model = dict(
    backbone=dict(model="vit_base_patch14_dinov2.lvd142m"),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
)
