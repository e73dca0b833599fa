"""Soft, minus the bank's mean text: is what all prompts share in the way?"""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="residual")
