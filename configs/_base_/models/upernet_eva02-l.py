"""EVA-02-L/14, pretrained by masked image modelling on 38 million images, by timm."""

_base_ = "./upernet_vit.py"
model = dict(
    data_preprocessor=dict(
        mean=[122.771, 116.746, 104.094],  # CLIP's, times 255
        std=[68.501, 66.632, 70.323],
    ),
    backbone=dict(type="TimmViT", model="eva02_large_patch14_224.mim_m38m"),
)
