"""Images generated from Cityscapes' training labels, to be mixed with the real ones 4:1.

Made by `domino synthesise configs/synthesis/controlnet_cityscapes.py --domains
fog,night,rain,snow --out data/synthetic/cityscapes`; see docs/synthesis.md. Mixed in by
`RatioConcatDataset`, as configs/synthesis/domino_vpd_cityscapes_4to1.py shows."""

cityscapes_synthetic_ratio = "4:1"  # real:synthetic, the paper's
# Without a pipeline: the training crop belongs to the setting.
cityscapes_synthetic_train = dict(
    type="FolderDataset",
    dataset_name="cityscapes_synthetic",
    domain=None,  # the first folder below images/ names it
    data_root="data/synthetic/cityscapes/",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
)
