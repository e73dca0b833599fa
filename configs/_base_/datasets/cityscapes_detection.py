"""Cityscapes' instances: eight classes, boxes and masks, 2048x1024.

`domino data convert cityscapes-instances data/cityscapes` makes the annotation files, under the
names that mmdet's configs use. Names of mmdet are given in full, so that they are not taken for
MMSegmentation's of the same name wherever this file is a base."""

_base_ = "../cityscapes_c.py"

custom_imports = dict(
    imports=["mmseg_domino.plugin", "mmseg_domino.detection"], allow_failed_imports=False
)
cityscapes_things = dict(
    type="DomainCocoDataset",
    dataset_name="cityscapes",
    domain="clear_day",
    data_root="data/cityscapes/",
)
det_train_pipeline = [
    dict(type="SeedSample"),
    dict(type="LoadCheckedImage"),
    # where weather is drawn by the semantic labels: with_seg=True
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="RandomResize",
        resize_type="mmdet.Resize",
        scale=[(2048, 800), (2048, 1024)],
        keep_ratio=True,
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackDominoDetInputs"),
]
det_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="mmdet.Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDominoDetInputs", truth=True),
]
cityscapes_det_train = dict(
    cityscapes_things,
    ann_file="annotations/instancesonly_filtered_gtFine_train.json",
    data_prefix=dict(img="leftImg8bit/train", seg="gtFine/train"),
    seg_rename=("_leftImg8bit.png", "_gtFine_labelTrainIds.png"),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=det_train_pipeline,
)
# 500 images.
cityscapes_det_val = dict(
    cityscapes_things,
    ann_file="annotations/instancesonly_filtered_gtFine_val.json",
    data_prefix=dict(img="leftImg8bit/val"),
    test_mode=True,
    pipeline=det_test_pipeline,
)
# The same 500 images in three densities of fog.
foggy_cityscapes_det_val = [
    dict(
        cityscapes_det_val,
        dataset_name="foggy_cityscapes",
        domain=f"beta_{beta}",
        data_prefix=dict(img="leftImg8bit_foggy/val"),
        rename=("_leftImg8bit.png", f"_leftImg8bit_foggy_beta_{beta}.png"),
    )
    for beta in ("0.005", "0.01", "0.02")
]
# 15 corruptions x 5 severities, made on the fly: mPC and rPC.
cityscapes_c_det_val = [
    dict(
        cityscapes_det_val,
        dataset_name="cityscapes_c",
        domain=f"{corruption}_{severity}",
        pipeline=[
            det_test_pipeline[0],
            dict(type="Corrupt", corruption=corruption, severity=severity),
            *det_test_pipeline[1:],
        ],
    )
    for corruption in _base_.cityscapes_c_corruptions
    for severity in _base_.cityscapes_c_severities
]
