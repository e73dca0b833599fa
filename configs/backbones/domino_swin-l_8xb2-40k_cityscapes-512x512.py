_base_ = ["../_base_/models/upernet_swin-l.py", "../_base_/domino_cityscapes_40k.py"]
