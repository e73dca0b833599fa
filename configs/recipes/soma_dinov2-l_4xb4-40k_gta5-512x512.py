"""SoMA on DINOv2 ViT-L, GTA5 to Cityscapes, BDD100K and Mapillary Vistas, crops of 512 x 512."""

_base_ = [
    "../_base_/models/mask2former_dinov2-l.py",
    "../_base_/recipes/gta5_512x512.py",
    "../_base_/recipes/soma.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(options=dict(img_size=512)),
)
domino = dict(store="data/domains/gta5_cityscapes_bdd_mapillary.safetensors")
custom_hooks = [*_base_.custom_hooks, dict(type="EMAHook", begin_iter=12000, priority="NORMAL")]
