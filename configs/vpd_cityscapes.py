"""Plain VPD: the published architecture, without the domain; source only.

The base is the flagship; see there.
"""

_base_ = "./domino_vpd_cityscapes.py"

domino = dict(encode="none", weather=None)
model = dict(backbone=dict(injection="none"))
