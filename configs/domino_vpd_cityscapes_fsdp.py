"""The flagship with weights, gradients and optimiser's state shared out over the cards (FSDP2).

For cards that have no room for them; see docs/vpd.md. Start it with
    tools/dist_train.sh configs/domino_vpd_cityscapes_fsdp.py 8
"""

_base_ = "./domino_vpd_cityscapes.py"

model_wrapper_cfg = dict(type="FullyShard")
