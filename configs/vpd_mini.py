"""Plain VPD at miniature size: what Domino is compared with, trained on the same images."""

_base_ = "./domino_vpd_mini.py"

domino = dict(encode="none")
# no norm between features and FPN
model = dict(neck=dict(_delete_=True, type="FPN", out_channels=64, num_outs=4))
