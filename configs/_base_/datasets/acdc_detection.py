"""ACDC's instances in its native tree, 1920x1080: the four conditions, each a domain.

The annotations are ACDC's own COCO files below gt_detection; a folder of an image's name says its
condition. For fewer: `dict(_base_.acdc_det_val, domains=("night",))`."""

acdc_det_val = dict(
    type="DomainCocoDataset",
    dataset_name="acdc",
    domains=("fog", "night", "rain", "snow"),
    data_root="data/acdc/",
    ann_file="gt_detection/instancesonly_val_gt_detection.json",
    data_prefix=dict(img="rgb_anon"),
    test_mode=True,
    pipeline=[
        dict(type="LoadCheckedImage"),
        dict(type="mmdet.Resize", scale=(1920, 1080), keep_ratio=True),
        dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="PackDominoDetInputs", truth=True),
    ],
)
