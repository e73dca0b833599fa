_base_ = ["../_base_/models/upernet_dinov3-l.py", "../_base_/domino_cityscapes_40k.py"]
