"""ResNet-101, pretrained on ImageNet-1k."""

_base_ = "./upernet_r50.py"
model = dict(backbone=dict(depth=101, pretrained="open-mmlab://resnet101_v1c"))
