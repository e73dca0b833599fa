"""Cityscapes to ACDC: Cityscapes val and the four conditions in one pass."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/acdc.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.acdc_val],
    )
)
