"""Plain VPD: the published architecture, without the domain; source only.

The base is the flagship; see there.
"""

_base_ = "./domino_vpd_cityscapes.py"

domino = dict(encode="none", weather=None)
# no norm between features and FPN
model = dict(neck=dict(_delete_=True, type="FPN", out_channels=256, num_outs=4))
