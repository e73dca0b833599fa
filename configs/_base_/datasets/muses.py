"""MUSES in its native tree, 1920x1080: four weathers by day and by night, each a domain.

In a child, `dict(_base_.muses_val, weathers=('fog', 'snow'), times='night')`. From the panoptic
labels alone, `domino data convert muses` makes the trainIds."""

muses_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1920, 1080), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

# 1,500 images, without a pipeline: for comparison with training on the target.
muses_train = dict(type="MUSESDataset", data_root="data/muses/", split="train")
# 250 images.
muses_val = dict(
    type="MUSESDataset", data_root="data/muses/", split="val", pipeline=muses_test_pipeline
)
# 750 images.
muses_test = dict(
    type="MUSESDataset", data_root="data/muses/", split="test", pipeline=muses_test_pipeline
)
