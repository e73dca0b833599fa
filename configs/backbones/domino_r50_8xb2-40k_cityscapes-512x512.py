_base_ = ["../_base_/models/upernet_r50.py", "../_base_/domino_cityscapes_40k.py"]
