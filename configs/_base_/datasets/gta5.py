"""GTA5: 24,966 synthetic images. `domino data convert gta5` makes the trainIds."""

# Without a pipeline: the training crop belongs to the setting.
gta5_train = dict(
    type="CityscapesDataset",
    data_root="data/gta5/",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    img_suffix=".png",
    seg_map_suffix="_labelTrainIds.png",
)
