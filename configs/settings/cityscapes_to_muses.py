"""Cityscapes to MUSES: Cityscapes val, and four weathers by day and by night."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/muses.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.muses_val],
    )
)
