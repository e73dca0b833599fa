"""GTA5 and SYNTHIA by crops of 512 x 512; short sides from 256 to 1024."""

_base_ = ["../../settings/gta5_synthia_to_cityscapes_bdd_mapillary.py", "./crops_512_half.py"]
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
