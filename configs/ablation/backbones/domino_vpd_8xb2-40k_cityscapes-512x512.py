_base_ = "../../backbones/domino_vpd_8xb2-40k_cityscapes-512x512.py"
