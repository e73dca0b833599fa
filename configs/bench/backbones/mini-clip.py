"""The image tower of the mini-CLIP under the same neck norms and head."""

_base_ = "../domino_vpd_bench.py"
model = dict(
    data_preprocessor=dict(
        mean=[122.771, 116.746, 104.094],  # CLIP's, x 255
        std=[68.5, 66.632, 70.323],
    ),
    backbone=dict(
        _delete_=True,
        type="OpenClipViT",
        model="local-dir:data/mini/models/mini-clip",
        weights=None,
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(
        in_channels=[128] * 4,
        # One stride, 16, in all blocks: a pyramid of strides 4 to 32.
        neck=dict(
            _delete_=True,
            type="MultiLevelNeck",
            in_channels=[128] * 4,
            out_channels=64,
            scales=[4, 2, 1, 0.5],
        ),
    ),
    decode_head=dict(feature_strides=[4, 8, 16, 32]),
)
optim_wrapper = dict(paramwise_cfg=dict(lr_mult=dict(_delete_=True, backbone=0.3)))
