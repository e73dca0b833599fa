"""The image encoder of Segment Anything, ViT-L/16, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    backbone=dict(type="TimmViT", model="samvit_large_patch16.sa1b"),
)
