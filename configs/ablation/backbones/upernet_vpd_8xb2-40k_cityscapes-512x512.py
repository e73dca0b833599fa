_base_ = "../../backbones/domino_vpd_8xb2-40k_cityscapes-512x512.py"
domino = dict(encode="none")
model = dict(backbone=dict(injection="none"))
