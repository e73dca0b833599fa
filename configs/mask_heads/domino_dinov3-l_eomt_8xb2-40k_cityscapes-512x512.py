"""EoMT on DINOv3 ViT-L/16: its last four of 24 blocks are the head."""

_base_ = "../backbones/domino_dinov3-l_8xb2-40k_cityscapes-512x512.py"
vit = "vit_large_patch16_dinov3.lvd1689m"
model = dict(
    backbone=dict(model=vit, out_indices=(19,), prefix_tokens=True),
    neck=None,
    decode_head=dict(_delete_=True, type="EoMTHead", model=vit, num_blocks=4, num_classes=19),
)
# the head's own blocks are pretrained, too
optim_wrapper = dict(
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(lr_mult={"backbone": 0.1, "decode_head.vit": 0.1}),
)
