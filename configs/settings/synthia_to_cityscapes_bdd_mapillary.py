"""SYNTHIA to Cityscapes, BDD100K and Mapillary Vistas, with mIoU16 and mIoU13."""

_base_ = [
    "../_base_/settings/source_synthia.py",
    "../_base_/datasets/bdd100k.py",
    "../_base_/datasets/mapillary.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.bdd100k_val, _base_.mapillary_v1_val],
    )
)
