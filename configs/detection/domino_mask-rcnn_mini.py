"""Mask R-CNN with Domino on the street world: a narrow ResNet-18 from random weights.

`make detect` trains it with and without Domino. `domino data mini` makes data and mini-CLIP.
Without Domino: --cfg-options domino.backbone.injection=none domino.encode=none
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/detection_cityscapes_to_acdc.py",
]
domino = dict(
    store="data/mini/domains.safetensors",
    encoder=dict(_delete_=True, model="local-dir:data/mini/models/mini-clip", bank="acdc"),
    domain_channels=64,
    weather=dict(
        prob=0.33,
        depth=dict(
            root="data/mini/cityscapes/disparity/train",
            camera_root="data/mini/cityscapes/camera/train",
            image_suffix="_leftImg8bit",
        ),
    ),
)

width = 32
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
    backbone=dict(
        depth=18,
        base_channels=16,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=width),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # half of all objects are below 18 of 512 x 256 pixels
        anchor_generator=dict(scales=[3]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=width, fc_out_channels=128, num_classes=8),
        mask_roi_extractor=dict(out_channels=width, roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(num_convs=2, in_channels=width, conv_out_channels=width, num_classes=8),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=96)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=150),
        rcnn=dict(max_per_img=60),
    ),
)

resize = dict(type="mmdet.Resize", scale=(512, 256), keep_ratio=True)
det_train_pipeline = [
    dict(type="SeedSample"),
    dict(type="LoadCheckedImage"),
    # semantic labels: weather is drawn by them
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True, with_seg=True),
    # drawn at 256 x 128: too small for a detector whose finest features are at stride 4
    resize,
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackDominoDetInputs"),
]
# One thread a run: a loader process of its own would only take turns with it.
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root="data/mini/cityscapes/", pipeline=det_train_pipeline),
)
det_test_pipeline = [
    dict(type="LoadCheckedImage"),
    resize,
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDominoDetInputs", truth=True),
]
source_val = dict(
    _base_.cityscapes_det_val, data_root="data/mini/cityscapes/", pipeline=det_test_pipeline
)
target_val = dict(_base_.acdc_det_val, data_root="data/mini/acdc/", pipeline=det_test_pipeline)
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(datasets=[source_val, target_val])
)

iterations = 450
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=iterations)
optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(lr_mult={"backbone": 1.0}))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-2, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100, max_keep_ckpts=1))
