"""CamVid, 480x360, 11 classes: recordings by day are the source, those at dusk another domain."""

camvid_train_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations", num_classes=11),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(320, 320), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDominoInputs"),
]
camvid_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(480, 360), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", num_classes=11),
    dict(type="PackDominoInputs"),
]
# 153 images.
camvid_day_train = dict(
    type="CamVidDataset",
    data_root="data/camvid/",
    conditions="day",
    split="train",
    pipeline=camvid_train_pipeline,
)
# 57 images by day: the source's own, for validation during training.
camvid_day_val = dict(
    type="CamVidDataset",
    data_root="data/camvid/",
    conditions="day",
    split="val",
    pipeline=camvid_test_pipeline,
)
# 57 images by day, 62 at dusk.
camvid_val = dict(
    type="CamVidDataset",
    data_root="data/camvid/",
    conditions=("day", "dusk"),
    split="val",
    pipeline=camvid_test_pipeline,
)
