_base_ = "../../backbones/domino_r101_8xb2-40k_cityscapes-512x512.py"
