"""SegFormer-B0 taught by the embedded Domino model, in clear weather and drawn weather.

    make train                                            # the teacher
    domino train configs/distill/segformer-b0_mini.py
    domino test configs/distill/segformer-b0_mini.py work_dirs/segformer-b0_mini/iter_400.pth

The student needs neither Stable Diffusion nor CLIP.
"""

_base_ = ["../domino_vpd_mini.py"]

# Data, weather and embedding are the teacher's; the student is a stock network.
domino = dict(backbone=None)
model = dict(
    _delete_=True,
    type="DominoDistilledEncoderDecoder",
    teacher=dict(
        config="configs/domino_vpd_mini.py",
        checkpoint="work_dirs/domino_vpd_mini/iter_750.pth",
    ),
    data_preprocessor=dict(
        type="DominoDataPreProcessor",  # without an encoder: none is needed to run the student
        size=_base_.crop_size,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="MixVisionTransformer", embed_dims=32, num_stages=4, num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8], patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3), mlp_ratio=4, qkv_bias=True, drop_path_rate=0.0,
    ),
    decode_head=dict(
        type="SegformerHead", in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=128,
        dropout_ratio=0.0, num_classes=19, norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)  # fmt: skip

# From random weights.
iterations = 400
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01)
)
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=40, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=40, end=iterations, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=iterations))
