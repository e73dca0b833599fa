"""SegFormer-B0 taught by Domino on VPD: Cityscapes in clear and in drawn weather, tested on ACDC.

    domino train configs/domino_vpd_cityscapes.py         # the teacher
    domino train configs/distill/segformer-b0_domino-vpd_8xb2-80k_cityscapes-512x512.py

The student needs neither Stable Diffusion nor CLIP. A step runs the teacher without gradients,
about a third of a step of its own training.
"""

_base_ = ["../domino_vpd_cityscapes.py"]

# Data and embedding are the teacher's; the student is a stock network.
domino = dict(backbone=None, weather=dict())
model = dict(
    _delete_=True,
    type="DominoDistilledEncoderDecoder",
    teacher=dict(
        config="configs/domino_vpd_cityscapes.py",
        checkpoint="work_dirs/domino_vpd_cityscapes/iter_80000.pth",
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
    # MMSegmentation's, from ImageNet
    pretrained="https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth",
    backbone=dict(
        type="MixVisionTransformer", embed_dims=32, num_stages=4, num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8], patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3), mlp_ratio=4, qkv_bias=True, drop_path_rate=0.1,
    ),
    decode_head=dict(
        type="SegformerHead", in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=256,
        dropout_ratio=0.1, num_classes=19, norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=_base_.crop_size, stride=(341, 341), windows_per_batch=4),
)  # fmt: skip

# SegFormer's own: the backbone at a tenth of the head's rate.
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=6e-4, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(lr_mult={"backbone": 0.1}, norm_decay_mult=0.0),
)
