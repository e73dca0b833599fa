_base_ = "../../backbones/domino_mit-b5_8xb2-40k_cityscapes-512x512.py"
