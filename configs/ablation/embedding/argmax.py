"""Text of the likeliest domain: does a hard choice suffice?"""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="argmax")
