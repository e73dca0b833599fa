"""Real:synthetic 4:1, the paper's."""

_base_ = "../../synthesis/domino_vpd_cityscapes_4to1.py"
