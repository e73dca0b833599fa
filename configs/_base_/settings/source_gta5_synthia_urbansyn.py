"""Training on GTA5, SYNTHIA and UrbanSyn; what all settings with these sources share."""

_base_ = ["./source_gta5_synthia.py", "../datasets/urbansyn.py"]
urbansyn_train_pipeline = [
    dict(type="SetDomain", dataset="urbansyn", domain="all"),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            *_base_.train_dataloader.dataset.datasets,
            dict(**_base_.urbansyn_train, pipeline=urbansyn_train_pipeline),
        ]
    )
)
