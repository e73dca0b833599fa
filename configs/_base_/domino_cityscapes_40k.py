"""All but the model: Cityscapes to ACDC, 40,000 iterations, domain-aware; for any backbone.

--cfg-options domino.backbone.tune=frozen                                 only g and h, and the head
--cfg-options domino.backbone.tune=lora                                   and low-rank adapters
--cfg-options domino.backbone.injection=none domino.encode=none           without Domino
"""

_base_ = [
    "../settings/cityscapes_to_acdc.py",
    "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_40k.py",
    "./domino.py",
]
domino = dict(
    store="data/domains/cityscapes_acdc.safetensors",
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    source="soft",
    space="context",
    backbone=dict(injection="subtract", tune="full"),
)

crop_size = (512, 512)  # as the models' data_preprocessor and test_cfg have it
train_pipeline = [
    dict(type="SeedSample"),
    dict(type="SetDomain", dataset="cityscapes", domain="clear_day"),
    dict(type="LoadCheckedImage"),  # the mix-in adds LoadDomainEmbedding here
    dict(type="LoadCheckedAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDominoInputs"),
]
train_dataloader = dict(
    batch_size=2,  # 8 GPUs x 2 = 16
    num_workers=4,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
randomness = dict(seed=0)
custom_hooks = [
    dict(type="mmseg_domino.engine.DominoGuardHook"),  # as in the mix-in
    dict(type="SeedIterationHook"),
]
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        # what is pretrained at a tenth of the rate, what starts untrained inside it at the full one
        lr_mult={"backbone": 0.1},
        new=r"\.domain\.|\.lora_",
        norm_decay_mult=0.0,
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=1500, end=40000, by_epoch=False),
]
