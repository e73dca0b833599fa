"""Mask R-CNN on DINOv2 ViT-L/14, its small singular directions trained (SoMA) under Domino's norms.

SoMA (arXiv 2412.04077) is the strongest published on Diverse Weather, with Co-DETR as detector.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/detection_cityscapes_to_acdc.py",
]
domino = dict(backbone=dict(tune="soma"))
strides = [3.5, 7, 14, 28]  # a quarter, half, one and two patches of 14 pixels
model = dict(
    data_preprocessor=dict(pad_size_divisor=28),
    backbone=dict(_delete_=True, type="TimmViT", model="vit_large_patch14_dinov2.lvd142m"),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=1024, rescales=[4, 2, 1, 0.5]),
        dict(
            type="mmdet.FPN",
            in_channels=[1024, 1024, 1024, 1024],
            out_channels=256,
            num_outs=5,
        ),
    ],
    rpn_head=dict(anchor_generator=dict(strides=[*strides, 56])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=strides),
        mask_roi_extractor=dict(featmap_strides=strides),
        bbox_head=dict(num_classes=8),
        mask_head=dict(num_classes=8),
    ),
)
