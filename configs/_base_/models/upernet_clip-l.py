"""CLIP's ViT-L/14 with OpenAI's weights, by open_clip."""

_base_ = "./upernet_vit.py"
model = dict(
    data_preprocessor=dict(
        mean=[122.771, 116.746, 104.094],  # CLIP's, times 255
        std=[68.501, 66.632, 70.323],
    ),
    backbone=dict(type="OpenClipViT", model="ViT-L-14", weights="openai"),
)
