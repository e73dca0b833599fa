"""VLTSeg on EVA02-CLIP-L/14, GTA5 and SYNTHIA, crops of 512 x 512."""

_base_ = [
    "../_base_/models/mask2former_eva02-clip-l.py",
    "../_base_/recipes/gta5_synthia_512x512.py",
    "../_base_/recipes/vltseg.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(drop_path_rate=0.2),
)
train_dataloader = dict(batch_size=8)
domino = dict(store="data/domains/gta5_synthia_cityscapes_bdd_mapillary.safetensors")
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, begin=500, end=5000, by_epoch=False)]
train_cfg = dict(max_iters=5000, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
