"""Training on Cityscapes; what all settings with this source share.

MMSegmentation's own data set file gives the loaders; only pipelines and evaluators are replaced.
The setting adds the test sets. Validation during training sees the source alone: choosing a
checkpoint by its score on the targets would be training on them.
"""

_base_ = [
    "mmseg::_base_/datasets/cityscapes.py",
    "../datasets/cityscapes.py",
]
crop_size = (512, 1024)
train_pipeline = [
    dict(type="SetDomain", dataset="cityscapes", domain="clear_day"),
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDominoInputs"),
]
# What mmseg.apis.inference_model does to an image of no data set, a file or an array.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="PackDominoInputs"),
]
tta_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale_factor=ratio, keep_ratio=True)
                for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [
                dict(type="RandomFlip", prob=0.0, direction="horizontal"),
                dict(type="RandomFlip", prob=1.0, direction="horizontal"),
            ],
            [dict(type="LoadCheckedAnnotations", unlabelled="skip")],
            [dict(type="PackDominoInputs")],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=_base_.cityscapes_val)
test_dataloader = dict(dataset=_base_.cityscapes_val)
val_evaluator = dict(_delete_=True, type="DomainIoUMetric", source="cityscapes/clear_day")
test_evaluator = val_evaluator
