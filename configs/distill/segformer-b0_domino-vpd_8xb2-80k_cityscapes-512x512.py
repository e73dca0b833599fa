"""SegFormer-B0 taught by Domino on VPD: Cityscapes in clear and in drawn weather, tested on ACDC.

    domino train configs/domino_vpd_cityscapes.py         # the teacher
    domino train configs/distill/segformer-b0_domino-vpd_8xb2-80k_cityscapes-512x512.py

The student needs neither Stable Diffusion nor CLIP. A step runs the teacher without gradients,
about a third of a step of its own training.
"""

_base_ = ["../domino_vpd_cityscapes.py", "../_base_/models/segformer-b0_student.py"]

# Data and embedding are the teacher's; the student is a stock network.
domino = dict(backbone=None, weather=dict())
model = dict(
    _base_.student,
    _delete_=True,
    teacher=dict(
        config="configs/domino_vpd_cityscapes.py",
        checkpoint="work_dirs/domino_vpd_cityscapes/iter_80000.pth",
    ),
    data_preprocessor=dict(_base_.student.data_preprocessor, size=_base_.crop_size),
    # MMSegmentation's, from ImageNet
    pretrained="https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth",
    test_cfg=dict(mode="slide", crop_size=_base_.crop_size, stride=(341, 341), windows_per_batch=4),
)

# SegFormer's own: the backbone at a tenth of the head's rate.
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=6e-4, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(lr_mult={"backbone": 0.1}, norm_decay_mult=0.0),
)
