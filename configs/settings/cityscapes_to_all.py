"""Cityscapes to every real target data set in one pass, with the mean over them."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/acdc.py",
    "../_base_/datasets/bdd100k.py",
    "../_base_/datasets/dark_zurich.py",
    "../_base_/datasets/mapillary.py",
    "../_base_/datasets/nighttime_driving.py",
    "../_base_/datasets/wilddash2.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            _base_.cityscapes_val,
            _base_.acdc_val,
            _base_.bdd100k_val,
            _base_.dark_zurich_val,
            _base_.mapillary_v1_val,
            _base_.nighttime_driving_test,
            _base_.wilddash2_val,
        ],
    )
)
