_base_ = "../../backbones/domino_clip-l_8xb2-40k_cityscapes-512x512.py"
