"""MAE's ViT-L/16, pretrained on ImageNet-1k, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    backbone=dict(type="TimmViT", model="vit_large_patch16_224.mae"),
)
