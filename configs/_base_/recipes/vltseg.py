"""VLTSeg (ACCV 2024): EVA02-CLIP trained whole at a tenth of the rate, gradients clipped.

5,000 iterations on synthetic sources and 20,000 on Cityscapes; a recipe gives their number.
"""

_base_ = "./common.py"
domino = dict(backbone=dict(tune="full"))
optim_wrapper = dict(
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(lr_mult={"backbone": 0.1}, decay_mult={"backbone.vit.pos_embed": 0.0}),
)
