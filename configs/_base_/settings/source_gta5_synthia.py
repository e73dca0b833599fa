"""Training on GTA5 and SYNTHIA; what all settings with these sources share."""

_base_ = ["./source_gta5.py", "../datasets/synthia.py"]
synthia_train_pipeline = [
    dict(type="SetDomain", dataset="synthia", domain="all"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            dict(**_base_.gta5_train, pipeline=_base_.train_pipeline),
            dict(**_base_.synthia_train, pipeline=synthia_train_pipeline),
        ],
    )
)
