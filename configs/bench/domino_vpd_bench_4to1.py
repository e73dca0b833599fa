"""The benchmark's base with images of other weather mixed in, real:synthetic 4:1."""

_base_ = ["./domino_vpd_bench.py"]

domino = dict(weather=None)  # the generated images show it

# As the real images', but that the data set itself names domain and source.
synthetic_pipeline = [step for step in _base_.train_pipeline if step["type"] != "SetDomain"]
real = dict(_base_.train_dataloader.dataset)
synthetic = dict(
    type="FolderDataset",
    dataset_name="synthetic",
    domain=None,  # the first folder below images/ names it
    data_root="data/synthetic",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    pipeline=synthetic_pipeline,
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", balance_domains=True),
    dataset=dict(_delete_=True, type="RatioConcatDataset", ratio="4:1", datasets=[real, synthetic]),
)
