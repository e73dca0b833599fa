"""Cityscapes to ACDC by crops of 512 x 512; short sides from 512 to 2048."""

_base_ = ["../../settings/cityscapes_to_acdc.py", "./crops_512.py"]
crop_size = _base_.crop
# augmentation by the seed and the place in training, so that a resumed run goes on exactly
train_pipeline = [dict(type="SeedSample"), _base_.train_pipeline[0], *_base_.augmentation]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
