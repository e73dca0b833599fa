"""The embedded default, shorter: what `make bench` trains dozens of times.

Its data are made by the bench below its root, as `data/mini` there.
"""

_base_ = ["../domino_vpd_mini.py"]

domino = dict(weather=dict(prob=0.5))
model = dict(decode_head=dict(loss_decode=dict(class_weight=None)))
# A new augmentation each time. All conditions of a seed see the same crops and share latents.
train_pipeline = [
    dict(step, variants=None) if step["type"] == "SeedSample" else step
    for step in _base_.train_pipeline
]
train_set = dict(_base_.train_set, pipeline=train_pipeline)
train_dataloader = dict(batch_size=4, dataset=dict(_delete_=True, **train_set))

iterations = 300
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(lr_mult={"backbone.unet": 0.3}))
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=iterations)
# No checkpoint is chosen, so no validation.
val_dataloader = None
val_cfg = None
val_evaluator = None
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=50))
