"""Cityscapes to ACDC by crops of 1024 x 1024; short sides from 512 to 2048."""

_base_ = "../../settings/cityscapes_to_acdc.py"
crop_size = (1024, 1024)
# For the recipe's model.
at_crop = dict(
    data_preprocessor=dict(size=crop_size),
    test_cfg=dict(crop_size=crop_size, stride=(683, 683)),
)
augmentation = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(
        type="RandomChoiceResize",
        scales=[int(1024 * x * 0.1) for x in range(5, 21)],
        resize_type="ResizeShortestEdge",
        max_size=4096,
    ),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDominoInputs"),
]
# augmentation by the seed and the place in training, so that a resumed run goes on exactly
train_pipeline = [dict(type="SeedSample"), _base_.train_pipeline[0], *augmentation]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
