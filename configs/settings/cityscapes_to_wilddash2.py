"""Cityscapes to WildDash 2."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/wilddash2.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.wilddash2_val],
    )
)
