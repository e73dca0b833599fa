"""The embedded default at an eighth of its pixels: what `make bench` trains dozens of times.

Its data are made by the bench below its root, as `data/mini` there.
"""

_base_ = ["../domino_vpd_mini.py"]

crop_size = (128, 128)
model = dict(
    data_preprocessor=dict(size=crop_size),
    # Frames of 128 x 256 are small enough to be seen whole.
    test_cfg=dict(_delete_=True, mode="whole"),
)

smaller = dict(
    RandomResize=dict(scale=(256, 128), ratio_range=(1.0, 1.5)),
    RandomCrop=dict(crop_size=crop_size),
)
train_pipeline = [
    dict(step, **smaller.get(step["type"], {}))
    for step in _base_.train_pipeline
    if step["type"] != "PhotoMetricDistortion"
]
# One thread a run: a loader process of its own would only take turns with it.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
test_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False)
val_dataloader = None
val_cfg = None
val_evaluator = None

iterations = 300
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(lr_mult={"backbone.unet": 0.3}))
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=50, max_keep_ckpts=1))
