_base_ = ["../_base_/models/upernet_mit-b5.py", "../_base_/domino_cityscapes_40k.py"]
