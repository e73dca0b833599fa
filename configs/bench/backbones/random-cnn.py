"""A ResNet-18 of half the width from random weights, under the same neck norms and head."""

_base_ = "../domino_vpd_bench.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNetV1c",
        depth=18,
        stem_channels=32,
        base_channels=32,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    neck=dict(
        in_channels=[32, 64, 128, 256],
        neck=dict(in_channels=[32, 64, 128, 256]),
    ),
    decode_head=dict(feature_strides=[4, 8, 16, 32]),
)
optim_wrapper = dict(paramwise_cfg=dict(lr_mult=dict(_delete_=True, backbone=1.0)))
