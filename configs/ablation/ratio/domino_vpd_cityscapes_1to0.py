"""Real images alone (real:synthetic 1:0), all else as in the others."""

_base_ = "../../synthesis/domino_vpd_cityscapes_4to1.py"
train_dataloader = dict(dataset=dict(ratio="1:0"))
