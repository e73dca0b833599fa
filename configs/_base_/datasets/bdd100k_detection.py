"""BDD100K's boxes, 1280x720: ten classes; the time of day as domain, from its own label file.

The source is its clear days: `source="bdd100k/daytime"` with domain_by="timeofday", or
`"bdd100k/daytime-clear"` with domain_by=("timeofday", "weather")."""

bdd100k_det_val = dict(
    type="BDD100KDetDataset",
    domain_by="timeofday",
    data_root="data/bdd100k/",
    ann_file="labels/det_20/det_val.json",
    data_prefix=dict(img="images/100k/val"),
    test_mode=True,
    pipeline=[
        dict(type="LoadCheckedImage"),
        dict(type="mmdet.Resize", scale=(1280, 720), keep_ratio=True),
        dict(type="mmdet.LoadAnnotations", with_bbox=True),
        dict(type="PackDominoDetInputs", truth=True),
    ],
)
