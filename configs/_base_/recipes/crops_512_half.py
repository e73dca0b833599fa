"""Crops of 512 x 512 from short sides of 256 to 1024."""

crop = (512, 512)
# For the recipe's model.
at_crop = dict(
    data_preprocessor=dict(size=crop),
    test_cfg=dict(crop_size=crop, stride=(341, 341)),
)
augmentation = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(
        type="RandomChoiceResize",
        scales=[int(512 * x * 0.1) for x in range(5, 21)],
        resize_type="ResizeShortestEdge",
        max_size=2048,
    ),
    dict(type="RandomCrop", crop_size=crop, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDominoInputs"),
]
