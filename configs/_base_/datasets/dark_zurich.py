"""Dark Zurich, 1920x1080, night: 50 val images; 151 test images without labels."""

dark_zurich_test_pipeline = [
    dict(type="SetDomain", dataset="dark_zurich", domain="night"),
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1920, 1080), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

dark_zurich_val = dict(
    type="DarkZurichDataset",
    data_root="data/dark_zurich/",
    data_prefix=dict(img_path="rgb_anon/val/night", seg_map_path="gt/val/night"),
    pipeline=dark_zurich_test_pipeline,
)
# For the server: --format-only, test_evaluator.submission=dark_zurich.
dark_zurich_test = dict(
    type="FolderDataset",
    dataset_name="dark_zurich",
    domain="night",
    data_root="data/dark_zurich/",
    data_prefix=dict(img_path="rgb_anon/test/night"),
    img_suffix="_rgb_anon.png",
    pipeline=dark_zurich_test_pipeline,
)
