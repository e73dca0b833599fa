"""BDD100K, 1280x720: 1,000 val images with masks.

With `attributes_file='labels/bdd100k_labels_images_val.json'`, the label JSON of the 100k images,
`domain_by='timeofday'` or `'weather'` makes the domains; without it there is one, `all`."""

bdd100k_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1280, 720), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

bdd100k_val = dict(
    type="BDD100KDomainDataset",
    data_root="data/bdd100k/",
    data_prefix=dict(img_path="images/10k/val", seg_map_path="labels/sem_seg/masks/val"),
    attributes_file=None,
    domain_by="timeofday",
    pipeline=bdd100k_test_pipeline,
)
