"""SegFormer-B0 taught by the embedded Domino model, in clear weather and drawn weather.

    make train                                            # the teacher
    domino train configs/distill/segformer-b0_mini.py
    domino test configs/distill/segformer-b0_mini.py work_dirs/segformer-b0_mini/iter_300.pth

The student needs neither Stable Diffusion nor CLIP.
"""

_base_ = ["../domino_vpd_mini.py", "../_base_/models/segformer-b0_student.py"]

# Data, weather and embedding are the teacher's; the student is a stock network.
domino = dict(backbone=None)
model = dict(
    _base_.student,
    _delete_=True,
    teacher=dict(
        config="configs/domino_vpd_mini.py",
        checkpoint="work_dirs/domino_vpd_mini/iter_800.pth",
    ),
    data_preprocessor=dict(_base_.student.data_preprocessor, size=_base_.crop_size),
    backbone=dict(_base_.student.backbone, drop_path_rate=0.0),
    decode_head=dict(
        _base_.student.decode_head, channels=128, dropout_ratio=0.0,
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    test_cfg=dict(mode="whole"),
)  # fmt: skip

# From random weights.
iterations = 300
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01)
)
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=40, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=40, end=iterations, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=iterations))
