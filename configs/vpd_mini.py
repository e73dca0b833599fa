"""Plain VPD at miniature size: what Domino is compared with, trained on the same images."""

_base_ = "./domino_vpd_mini.py"

domino = dict(encode="none")
model = dict(backbone=dict(injection="none"))
