"""The control of the oracle: the true condition's random vector."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="random", assign="oracle")
