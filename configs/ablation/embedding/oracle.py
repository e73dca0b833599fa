"""Text of the true condition: the upper bound."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="oracle")
