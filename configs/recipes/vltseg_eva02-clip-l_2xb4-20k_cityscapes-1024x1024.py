"""VLTSeg on EVA02-CLIP-L/14, Cityscapes to ACDC, crops of 1024 x 1024."""

_base_ = [
    "../_base_/models/mask2former_eva02-clip-l.py",
    "../_base_/recipes/cityscapes_1024x1024.py",
    "../_base_/recipes/vltseg.py",
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(drop_path_rate=0.2),
    test_cfg=dict(crop_size=_base_.crop_size, stride=(768, 768)),
)
train_dataloader = dict(batch_size=4)
param_scheduler = [
    dict(type="PolyLR", power=0.9, eta_min=0.0, begin=500, end=20000, by_epoch=False)
]
train_cfg = dict(max_iters=20000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
