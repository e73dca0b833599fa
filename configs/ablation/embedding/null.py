"""Zeros: all of the same network, without domain information."""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="null")
