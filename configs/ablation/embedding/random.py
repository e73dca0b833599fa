"""A random vector a domain, fixed by its name: the control."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="random")
