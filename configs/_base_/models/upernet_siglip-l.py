"""SigLIP's ViT-L/16 at 384 x 384, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(type="TimmViT", model="vit_large_patch16_siglip_384.webli"),
)
