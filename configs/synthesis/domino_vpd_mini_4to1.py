"""The embedded default with generated images mixed in, real:synthetic 4:1.

    domino data mini
    domino synthesise configs/synthesis/controlnet_mini.py \
        --domains fog,night,rain,snow --out data/mini/synthetic
    domino domains extract configs/synthesis/domino_vpd_mini_4to1.py
    domino train configs/synthesis/domino_vpd_mini_4to1.py
"""

_base_ = [
    "../domino_vpd_mini.py",
    "../_base_/datasets/cityscapes_synthetic_4to1.py",
]

# Not the default's: it must hold the generated images, too.
domino = dict(store="data/mini/domains_4to1.safetensors", weather=None)

# As the real images', but that the data set itself names domain and source.
synthetic_pipeline = [step for step in _base_.train_pipeline if step["type"] != "SetDomain"]
real = _base_.train_set
synthetic = _base_.cityscapes_synthetic_train
synthetic.update(data_root="data/mini/synthetic", pipeline=synthetic_pipeline)
train_dataloader = dict(
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", balance_domains=True),
    dataset=dict(
        _delete_=True,
        type="RatioConcatDataset",
        ratio=_base_.cityscapes_synthetic_ratio,
        datasets=[real, synthetic],
    ),
)
