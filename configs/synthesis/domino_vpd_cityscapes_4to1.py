"""Domino on VPD with generated images mixed in, real:synthetic 4:1: the paper's best.

The store must hold the generated images too:
    domino domains extract configs/synthesis/domino_vpd_cityscapes_4to1.py --bank acdc \
        --out data/domains/cityscapes_acdc.safetensors
"""

_base_ = [
    "../domino_vpd_cityscapes.py",
    "../_base_/datasets/cityscapes_synthetic_4to1.py",
]

domino = dict(weather=None)  # the generated images show it

# As the real images', but that the data set itself names domain and source.
synthetic_pipeline = [step for step in _base_.train_pipeline if step["type"] != "SetDomain"]
real = _base_.cityscapes_train
real.pipeline = _base_.train_pipeline
synthetic = _base_.cityscapes_synthetic_train
synthetic.pipeline = synthetic_pipeline
train_dataloader = dict(
    # Keeps the ratio exactly, and gives each generated domain the same share.
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", balance_domains=True),
    dataset=dict(
        _delete_=True,
        type="RatioConcatDataset",
        ratio=_base_.cityscapes_synthetic_ratio,
        datasets=[real, synthetic],
    ),
)
