"""DINOv2 ViT-L under Mask2Former's head as Rein and SoMA build it.

Patches of 14 pixels are resampled to 16 and position embeddings to the crop, both bicubically as in
their converters. Four blocks put out one stride; resized bilinearly, they are strides of 4 to 32. A
child gives the crop: `data_preprocessor.size`, `backbone.options.img_size` and `test_cfg`.
"""

_base_ = "./mask2former_head.py"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="TimmViT",
        model="vit_large_patch14_dinov2.lvd142m",
        weights="timm",  # or dinov2_vitl14_pretrain.pth
        out_indices=(7, 11, 15, 23),
        scales=(4, 2, 1, 0.5),
        resampling="bicubic",
        options=dict(patch_size=16),
    ),
    decode_head=dict(**_base_.mask2former_head, in_channels=[1024] * 4),
    train_cfg=dict(),
    test_cfg=dict(mode="slide"),
)
