"""Rein on DINOv2 ViT-L, GTA5, SYNTHIA and UrbanSyn, crops of 512 x 512."""

_base_ = [
    "../_base_/models/mask2former_dinov2-l.py",
    "../_base_/recipes/gta5_synthia_urbansyn_512x512.py",
    "../_base_/recipes/rein.py",
]
model = dict(
    **_base_.at_crop,
    backbone=dict(options=dict(img_size=512)),
    decode_head=dict(type="ReinMask2FormerHead"),
)
domino = dict(store="data/domains/gta5_synthia_urbansyn_cityscapes_bdd_mapillary.safetensors")


def small(part):
    """Cityscapes and Mapillary Vistas are tested at half their usual size, as in the original."""
    steps = [
        dict(step, scale=(1024, 512)) if tuple(step.get("scale", ())) == (2048, 1024) else step
        for step in part["pipeline"]
    ]
    return dict(part, pipeline=steps)


test_dataloader = dict(
    dataset=dict(datasets=[small(part) for part in _base_.test_dataloader.dataset.datasets])
)
