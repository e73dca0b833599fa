"""WildDash 2, 1920x1080, all kinds of hazards in one domain.

`domino data convert wilddash2` makes `labelTrainIds/` from the panoptic labels."""

wilddash2_test_pipeline = [
    dict(type="SetDomain", dataset="wilddash2", domain="all"),
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1920, 1080), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

wilddash2_val = dict(
    type="CityscapesDataset",
    data_root="data/wilddash2/",
    data_prefix=dict(img_path="images", seg_map_path="labelTrainIds"),
    img_suffix=".jpg",
    seg_map_suffix=".png",
    pipeline=wilddash2_test_pipeline,
)
