"""Panoptic annotations of Cityscapes and ACDC, things first and then stuff, for mask transformers.

Cityscapes' are made by `csCreatePanopticImgs`. ACDC's are of the same form; `ann_file` and
`data_prefix.seg` say where its panoptic archive was unpacked. Tested are boxes and masks of things
by domain; mmdet's CocoPanopticMetric measures panoptic quality."""

panoptic_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadPanopticSegments"),
    dict(type="mmdet.Resize", scale=(2048, 1024), keep_ratio=True),
    dict(type="PackDominoDetInputs", truth=True),
]
cityscapes_panoptic_val = dict(
    type="DomainPanopticDataset",
    dataset_name="cityscapes",
    domain="clear_day",
    data_root="data/cityscapes/",
    ann_file="gtFine/cityscapes_panoptic_val.json",
    data_prefix=dict(img="leftImg8bit/val", seg="gtFine/cityscapes_panoptic_val"),
    rename=("_gtFine_leftImg8bit.png", "_leftImg8bit.png"),
    city_folders=True,
    test_mode=True,
    pipeline=panoptic_test_pipeline,
)
acdc_panoptic_val = dict(
    type="DomainPanopticDataset",
    dataset_name="acdc",
    domains=("fog", "night", "rain", "snow"),
    data_root="data/acdc/",
    ann_file="gt_panoptic/acdc_panoptic_val.json",
    data_prefix=dict(img="rgb_anon", seg="gt_panoptic/acdc_panoptic_val"),
    test_mode=True,
    pipeline=panoptic_test_pipeline,
)
