"""SoMA on DINOv2 ViT-L, GTA5, SYNTHIA and UrbanSyn, crops of 1024 x 1024."""

_base_ = [
    "../_base_/models/mask2former_dinov2-l.py",
    "../_base_/recipes/gta5_synthia_urbansyn_1024x1024.py",
    "../_base_/recipes/soma.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(options=dict(img_size=1024)),
)
domino = dict(store="data/domains/gta5_synthia_urbansyn_cityscapes_bdd_mapillary.safetensors")
custom_hooks = [*_base_.custom_hooks, dict(type="EMAHook", begin_iter=16000, priority="NORMAL")]
