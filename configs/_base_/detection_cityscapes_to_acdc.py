"""All but the model: Cityscapes' instances to ACDC, 24 epochs, domain-aware; for any detector.

--cfg-options domino.backbone.tune=frozen                          only g and h, neck and heads
--cfg-options domino.backbone.injection=none domino.encode=none    without Domino
"""

_base_ = [
    "./datasets/cityscapes_detection.py",
    "./datasets/acdc_detection.py",
    "./domino_detection.py",
    "mmdet::_base_/default_runtime.py",
]
domino = dict(
    store="data/domains/cityscapes_acdc.safetensors",
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    source="soft",
    space="joint",
    backbone=dict(injection="subtract", tune="full"),
)

train_dataloader = dict(
    batch_size=1,  # 8 GPUs x 1
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="ResumableInfiniteSampler", shuffle=True),
    dataset=_base_.cityscapes_det_train,
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=_base_.cityscapes_det_val,
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(type="ConcatDataset", datasets=[_base_.cityscapes_det_val, _base_.acdc_det_val]),
)
val_evaluator = dict(
    type="DomainDetectionMetric", metric=["bbox", "segm"], source="cityscapes/clear_day"
)
test_evaluator = val_evaluator

# 24 epochs of 2,965 images with objects, 8 at a time.
iterations = 8900
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=iterations)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(lr_mult={"backbone": 0.1}, new=r"\.domain\.|\.lora_", norm_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=500, by_epoch=False),
    dict(type="MultiStepLR", begin=0, end=iterations, by_epoch=False, milestones=[5900, 8000]),
]
default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(interval=1000, by_epoch=False, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
custom_hooks = [
    dict(type="mmseg_domino.engine.DominoGuardHook"),  # as in the mix-in
    dict(type="SeedIterationHook"),
]
