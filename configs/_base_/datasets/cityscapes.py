"""Cityscapes: the usual source, clear weather by day. 2,975 train and 500 val images, 2048x1024.

Building blocks, as all files of this folder: each defines only names of its own, so that any number
of them can stand in one `_base_`. See docs/data.md."""

cityscapes_test_pipeline = [
    dict(type="SetDomain", dataset="cityscapes", domain="clear_day"),
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

# Without a pipeline: the training crop belongs to the setting.
cityscapes_train = dict(
    type="CityscapesDataset",
    data_root="data/cityscapes/",
    data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
)
cityscapes_val = dict(
    type="CityscapesDataset",
    data_root="data/cityscapes/",
    data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
    pipeline=cityscapes_test_pipeline,
)
# For the server: domino test --format-only, test_evaluator.submission=cityscapes.
cityscapes_test = dict(
    type="CityscapesDataset",
    data_root="data/cityscapes/",
    data_prefix=dict(img_path="leftImg8bit/test"),
    pipeline=cityscapes_test_pipeline,
)
