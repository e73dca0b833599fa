"""Real:synthetic 2:1."""

_base_ = "../../synthesis/domino_vpd_cityscapes_4to1.py"
train_dataloader = dict(dataset=dict(ratio="2:1"))
