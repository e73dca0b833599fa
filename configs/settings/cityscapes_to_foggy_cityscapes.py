"""Cityscapes to Foggy Cityscapes in three densities."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/foggy_cityscapes.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, *_base_.foggy_cityscapes_val],
    )
)
