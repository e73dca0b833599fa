"""Cityscapes to ACDC by crops of 512 x 512: data, seeds and hooks of the Domino configs."""

_base_ = [
    # MMSegmentation's Cityscapes loaders; tests Cityscapes val and ACDC's conditions in one pass
    "../settings/cityscapes_to_acdc.py",
    "mmseg::_base_/default_runtime.py",
    "./domino.py",
]

crop_size = (512, 512)  # as the models' data_preprocessor and test_cfg have it
train_pipeline = [
    # augmentation by the seed and the place in training, so that a resumed run goes on exactly
    dict(type="SeedSample"),
    *(
        dict(step, crop_size=crop_size) if step["type"] == "RandomCrop" else step
        for step in _base_.train_pipeline
    ),
]
train_dataloader = dict(
    batch_size=2,  # 8 GPUs x 2 = 16
    num_workers=4,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
randomness = dict(seed=0)  # the sampler needs to know it before a checkpoint is read
custom_hooks = [
    dict(type="mmseg_domino.engine.DominoGuardHook"),  # as in the mix-in
    dict(type="SeedIterationHook"),  # dropout by the seed and the iteration
]
