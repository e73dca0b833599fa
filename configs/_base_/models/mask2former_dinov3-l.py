"""DINOv3 ViT-L/16 under Mask2Former's head: Rein's and SoMA's pyramid on its rotary positions."""

_base_ = "./mask2former_dinov2-l.py"
model = dict(
    backbone=dict(
        model="vit_large_patch16_dinov3.lvd1689m",
        weights="timm",
        resampling="timm",  # patches of 16 and rotary positions: nothing is resampled
        options=dict(_delete_=True),
    ),
)
