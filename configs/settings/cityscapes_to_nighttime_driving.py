"""Cityscapes to Nighttime Driving."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/nighttime_driving.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.nighttime_driving_test],
    )
)
