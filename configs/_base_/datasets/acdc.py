"""ACDC in its native tree, 1920x1080: all four conditions, each a domain of its own.

One base for every subset: in a child, `dict(_base_.acdc_val, conditions=('fog', 'night'))`; on the
command line, `--cfg-options test_dataloader.dataset.datasets.1.conditions=night`."""

acdc_test_pipeline = [
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1920, 1080), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

acdc_conditions = ("fog", "night", "rain", "snow")
# 1,600 images, without a pipeline: for comparison with training on the target.
acdc_train = dict(
    type="ACDCDataset", data_root="data/acdc/", conditions=acdc_conditions, split="train"
)
# 406 images.
acdc_val = dict(
    type="ACDCDataset",
    data_root="data/acdc/",
    conditions=acdc_conditions,
    split="val",
    pipeline=acdc_test_pipeline,
)
# 2,000 images without labels, for the server: --format-only, test_evaluator.submission=acdc.
acdc_test = dict(
    type="ACDCDataset",
    data_root="data/acdc/",
    conditions=acdc_conditions,
    split="test",
    pipeline=acdc_test_pipeline,
)
# The same places in clear weather by day. A part of them has labels, `*_gt_ref_labelTrainIds.png`.
acdc_reference = dict(
    type="ACDCDataset",
    data_root="data/acdc/",
    conditions=acdc_conditions,
    split="val",
    reference=True,
    pipeline=acdc_test_pipeline,
)
# Those with labels: the nearest source for a relative mIoU, `source="acdc_reference/clear_day"`.
acdc_reference_labelled = dict(acdc_reference, labelled_only=True)
