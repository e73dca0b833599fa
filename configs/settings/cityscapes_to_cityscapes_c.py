"""Cityscapes to its 75 corruptions."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/cityscapes_c.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, *_base_.cityscapes_c_val],
    )
)
