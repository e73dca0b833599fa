"""SoMA on DINOv2 ViT-L, GTA5, SYNTHIA and UrbanSyn, crops of 512 x 512."""

_base_ = [
    "../_base_/models/mask2former_dinov2-l.py",
    "../_base_/recipes/gta5_synthia_urbansyn_512x512.py",
    "../_base_/recipes/soma.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(options=dict(img_size=512)),
)
domino = dict(store="data/domains/gta5_synthia_urbansyn_cityscapes_bdd_mapillary.safetensors")
