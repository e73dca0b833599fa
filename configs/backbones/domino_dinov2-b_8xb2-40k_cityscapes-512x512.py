_base_ = ["../_base_/models/upernet_dinov2-b.py", "../_base_/domino_cityscapes_40k.py"]
