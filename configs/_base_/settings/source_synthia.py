"""Training on SYNTHIA; what all settings with this source share."""

_base_ = ["./source_cityscapes.py", "../datasets/synthia.py"]
train_pipeline = [
    dict(type="SetDomain", dataset="synthia", domain="all"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(
    dataset=dict(_delete_=True, **_base_.synthia_train, pipeline=train_pipeline)
)
# mIoU16 and mIoU13 beside the mIoU of all 19 classes.
val_evaluator = dict(source=None, class_subsets=_base_.synthia_class_subsets)
test_evaluator = val_evaluator
