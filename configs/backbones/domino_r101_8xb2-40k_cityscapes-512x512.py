_base_ = ["../_base_/models/upernet_r101.py", "../_base_/domino_cityscapes_40k.py"]
