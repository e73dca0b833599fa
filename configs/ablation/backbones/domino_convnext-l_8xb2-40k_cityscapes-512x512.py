_base_ = "../../backbones/domino_convnext-l_8xb2-40k_cityscapes-512x512.py"
