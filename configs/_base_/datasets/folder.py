"""Any folder of images, with or without labels, on the 19 classes.

`domain=None, domain_level=0` takes the first folder below `images` as the domain."""

folder_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

folder_val = dict(
    type="FolderDataset",
    data_root="data/folder/",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    dataset_name="folder",
    domain="all",
    img_suffix=".png",
    seg_map_suffix=".png",
    pipeline=folder_test_pipeline,
)
