"""Backbones under the same domain-adaptive neck and head; the base itself is the mini-SD."""

base = "domino_vpd_bench.py"
conditions = {
    # the same network from random weights: what its pretraining is worth
    "mini-sd-random": dict(
        model=dict(backbone=dict(weights=dict(name="data/mini/models-random/mini-sd"))),
        # nothing pretrained to be careful with
        optim_wrapper=dict(paramwise_cfg=dict(lr_mult={"backbone.unet": 1.0})),
    ),
    # a ResNet-18 of half the width from random weights
    "random-cnn": dict(
        domino=dict(backbone=None),  # its own norms stay as they are
        model=dict(
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
            ),
            decode_head=dict(feature_strides=[4, 8, 16, 32]),
        ),
        optim_wrapper=dict(paramwise_cfg=dict(lr_mult=dict(_delete_=True, backbone=1.0))),
    ),
    # the image tower of the mini-CLIP
    "mini-clip": dict(
        domino=dict(backbone=None),
        model=dict(
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
                # one stride, 16, in all blocks: a pyramid of strides 4 to 32
                neck=dict(
                    _delete_=True,
                    type="MultiLevelNeck",
                    out_channels=64,
                    scales=[4, 2, 1, 0.5],
                ),
            ),
            decode_head=dict(feature_strides=[4, 8, 16, 32]),
        ),
        optim_wrapper=dict(paramwise_cfg=dict(lr_mult=dict(_delete_=True, backbone=0.3))),
    ),
}
