"""Cityscapes to BDD100K."""

_base_ = [
    "../_base_/settings/source_cityscapes.py",
    "../_base_/datasets/bdd100k.py",
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[_base_.cityscapes_val, _base_.bdd100k_val],
    )
)
