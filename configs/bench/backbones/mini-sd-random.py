"""The same network as mini-SD, from random weights: what its pretraining is worth."""

_base_ = "../domino_vpd_bench.py"
model = dict(backbone=dict(weights="data/mini/models-random/mini-sd"))
# Nothing pretrained to be careful with.
optim_wrapper = dict(paramwise_cfg=dict(lr_mult={"backbone.unet": 1.0}))
