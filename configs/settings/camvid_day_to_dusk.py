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
    dataset=_base_.camvid_day_val,
)
test_dataloader = dict(val_dataloader, dataset=_base_.camvid_val)
# What mmseg.apis.inference_model does to an image of no data set, a file or an array.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(480, 360), keep_ratio=True),
    dict(type="PackDominoInputs"),
]
val_evaluator = dict(type="DomainIoUMetric", source="camvid/day")
test_evaluator = val_evaluator
