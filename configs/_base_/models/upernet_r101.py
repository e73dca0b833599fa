"""ResNet-101, pretrained on ImageNet-1k."""

_base_ = "./upernet_r50.py"
model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint="open-mmlab://resnet101_v1c")))
