"""The mix-in: add this file to a stock config's ``_base_`` and the model becomes domain-aware.

    _base_ = ['mmseg::segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024.py',
              'mmseg_domino::_base_/domino.py']

MMEngine lets no two bases define the same key, so this file touches none of the stock ones: the
runner it names rewrites the config (segmentor, backbone, pipelines, evaluators) as `domino` says
before anything is built, and saves the result in the work folder. Override any of these keys in
the child or on the command line: `--cfg-options domino.source=argmax`.
"""

# A full path, so that it is found without `custom_imports`, which a stock base may define itself.
runner_type = "mmseg_domino.engine.DominoRunner"

# Refuses to go on if a program ignores `runner_type` and builds the stock model.
custom_hooks = [dict(type="mmseg_domino.engine.DominoGuardHook")]

domino = dict()
