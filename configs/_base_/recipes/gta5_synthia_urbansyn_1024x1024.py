"""GTA5, SYNTHIA and UrbanSyn by crops of 1024 x 1024; short sides from 512 to 2048."""

_base_ = ["../../settings/gta5_synthia_urbansyn_to_cityscapes_bdd_mapillary.py", "./crops_1024.py"]
crop_size = _base_.crop
# augmentation by the seed and the place in training, so that a resumed run goes on exactly
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(
        datasets=[
            dict(
                part, pipeline=[dict(type="SeedSample"), part["pipeline"][0], *_base_.augmentation]
            )
            for part in _base_.train_dataloader.dataset.datasets
        ]
    ),
)
