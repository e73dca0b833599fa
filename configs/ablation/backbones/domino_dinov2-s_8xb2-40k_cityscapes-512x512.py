_base_ = "../../backbones/domino_dinov2-s_8xb2-40k_cityscapes-512x512.py"
