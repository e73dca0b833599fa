"""Cityscapes to Dark Zurich val."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/dark_zurich.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.dark_zurich_val],
    )
)
