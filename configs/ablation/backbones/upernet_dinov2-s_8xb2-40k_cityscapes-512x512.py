_base_ = "../../backbones/domino_dinov2-s_8xb2-40k_cityscapes-512x512.py"
domino = dict(encode="none", backbone=dict(injection="none"))
