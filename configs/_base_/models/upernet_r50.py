"""ResNet-50, pretrained on ImageNet-1k."""

_base_ = "./upernet.py"
model = dict(
    backbone=dict(
        type="ResNetV1c",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
)
