"""Mapillary Vistas on the 19 classes: 2,000 val images of many sizes (median about 4000x3000).

`domino data convert mapillary` writes the labels named here, of release 1.2 or 2.0; where
the originals of 1.2 lie differs between archives, where these go does not."""

mapillary_test_pipeline = [
    dict(type="SetDomain", dataset="mapillary", domain="all"),
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

mapillary_v1_val = dict(
    type="CityscapesDataset",
    data_root="data/mapillary/",
    data_prefix=dict(img_path="validation/images", seg_map_path="validation/labels"),
    img_suffix=".jpg",
    seg_map_suffix="_labelTrainIds.png",
    pipeline=mapillary_test_pipeline,
)
mapillary_v2_val = dict(
    type="CityscapesDataset",
    data_root="data/mapillary/",
    data_prefix=dict(img_path="validation/images", seg_map_path="validation/v2.0/labels"),
    img_suffix=".jpg",
    seg_map_suffix="_labelTrainIds.png",
    pipeline=mapillary_test_pipeline,
)
