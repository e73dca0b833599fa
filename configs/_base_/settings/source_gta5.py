"""Training on GTA5; what all settings with this source share.

GTA5 has no validation split of its own, so there is no source mIoU for anything to be relative to:
the figure to compare is the mean over the target data sets. Validation during training is on
Cityscapes, as the field does it: those numbers are of a checkpoint chosen on a target.
"""

_base_ = ["./source_cityscapes.py", "../datasets/gta5.py"]
train_pipeline = [
    dict(type="SetDomain", dataset="gta5", domain="all"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(_delete_=True, **_base_.gta5_train, pipeline=train_pipeline))
val_evaluator = dict(source=None)
test_evaluator = dict(source=None)
