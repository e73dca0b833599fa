"""What all recipes share: 40,000 iterations, AdamW at 1e-4, no Domino until it is asked for.

A recipe is its original. Domino on top of it is one line more:

    --cfg-options domino.encode=store domino.backbone.injection=subtract

The learning-rate and decay factors that the originals leave to their optimiser's constructor are
spelt out, and logged as tables when training starts.
"""

_base_ = [
    "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_40k.py",
    "../domino.py",
]
domino = dict(
    encode="none",
    store="data/domains/cityscapes_acdc.safetensors",
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    source="soft",
    backbone=dict(injection="none", norms="all"),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        new=r"\.domain\.",  # Domino's own parts start untrained: at the full rate
        # the head's embeddings train without decay
        decay_mult={
            "decode_head.query_embed": 0.0,
            "decode_head.query_feat": 0.0,
            "decode_head.level_embed": 0.0,
        },
    ),
)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
randomness = dict(seed=0)  # the sampler needs to know it before a checkpoint is read
custom_hooks = [
    dict(type="mmseg_domino.engine.DominoGuardHook"),  # as in the mix-in
    dict(type="SeedIterationHook"),  # dropout by the seed and the iteration
]
