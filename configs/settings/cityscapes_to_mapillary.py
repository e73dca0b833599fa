"""Cityscapes to Mapillary Vistas (labels of release 1.2)."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/mapillary.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.mapillary_v1_val],
    )
)
