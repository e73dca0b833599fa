"""EoMT on DINOv3 ViT-L/16: its last four of 24 blocks are the head."""

_base_ = "./domino_dinov2-l_eomt_8xb2-40k_cityscapes-512x512.py"
vit = "vit_large_patch16_dinov3.lvd1689m"
model = dict(backbone=dict(model=vit), decode_head=dict(model=vit))
