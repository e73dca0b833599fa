"""GTA5: 24,966 synthetic images, of which two are left out: the official labels of 15188 and 17705
have another size than the images. `domino data convert gta5` makes the trainIds."""

# Without a pipeline: the training crop belongs to the setting.
gta5_train = dict(
    type="FolderDataset",
    dataset_name="gta5",
    domain="all",
    exclude=("15188", "17705"),
    data_root="data/gta5/",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    img_suffix=".png",
    seg_map_suffix="_labelTrainIds.png",
)
