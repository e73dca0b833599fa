"""Score-weighted mean of the domains' texts: the flagship."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="soft")
