_base_ = "../../backbones/domino_eva02-l_8xb2-40k_cityscapes-512x512.py"
