"""SoMA (CVPR 2025): the 16 smallest singular components of each layer from block 8, and its biases.

The backbone trains at half the rate, and decay is annealed to 1e-5. Warm-up and averaging of
weights depend on the source and are in the recipe.
"""

_base_ = "./common.py"
domino = dict(backbone=dict(tune="soma", adapter=dict(rank=16, start_block=8), save_frozen=False))
optim_wrapper = dict(paramwise_cfg=dict(lr_mult={"backbone": 0.5}))
anneal_decay = dict(
    type="CosineAnnealingParamScheduler",
    param_name="weight_decay",
    eta_min=1e-5,
    begin=0,
    end=40000,
    by_epoch=False,
)
param_scheduler = [*_base_.param_scheduler, anneal_decay]
