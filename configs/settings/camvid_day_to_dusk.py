"""CamVid by day to CamVid at dusk: a small setting on real images."""

_base_ = "../_base_/datasets/camvid.py"
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=_base_.camvid_day_train,
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=_base_.camvid_val,
)
test_dataloader = val_dataloader
test_pipeline = _base_.camvid_test_pipeline  # of mmseg.apis.inference_model
val_evaluator = dict(type="DomainIoUMetric", source="camvid/day")
test_evaluator = val_evaluator
