"""GTA5, SYNTHIA and UrbanSyn to Cityscapes, BDD100K and Mapillary Vistas."""

_base_ = [
    "../_base_/settings/source_gta5_synthia_urbansyn.py",
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
