"""The mix-in for mmdet: add this file to a stock detector's ``_base_`` and it is domain-aware.

    _base_ = ['mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
              'mmseg_domino::_base_/domino_detection.py']
    domino = dict(domain_channels=768, store='data/domains.safetensors')

See `domino.py`, which does the same for segmentors; the options of `domino` are the same.
"""

# A full path, so that it is found without `custom_imports`, which a stock base may define itself.
runner_type = "mmseg_domino.engine.DominoRunner"

# Refuses to go on if a program ignores `runner_type` and builds the stock model.
custom_hooks = [dict(type="mmseg_domino.engine.DominoGuardHook")]

domino = dict(task="detection")
