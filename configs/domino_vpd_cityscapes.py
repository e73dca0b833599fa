"""Domino on VPD: Stable Diffusion's UNet, fine-tuned on Cityscapes, tested on Cityscapes and ACDC.

Before the first run (the README says more):
    domino domains extract configs/domino_vpd_cityscapes.py
"""

_base_ = [
    # Cityscapes to ACDC: data, training pipeline, seeds, hooks
    "./_base_/domino_cityscapes_512x512.py",
    "mmseg::_base_/schedules/schedule_80k.py",
]

# ---- The domain ---------------------------------------------------------------------------------
domino = dict(
    # One file with the CLIP embedding of every training and test image: costs nothing a step.
    store="data/domains/cityscapes_acdc.safetensors",
    # The text tower of Stable Diffusion 1.x: its states would fit the UNet's cross-attention, too.
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    # The five domains' texts, weighted by CLIP's scores, in the space of images and texts.
    source="soft",
    space="joint",
    # Every other training image in fog, night, rain or snow by rule, with what CLIP sees in it: the
    # network meets other domains before the test.
    weather=dict(prob=0.5, embedding="clip"),
)

# ---- The model ----------------------------------------------------------------------------------
crop_size = (512, 512)  # what Stable Diffusion 1.x was trained on
class_names = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign',
    'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train',
    'motorcycle', 'bicycle')  # fmt: skip
joint_channels = 768  # width of CLIP ViT-L/14's space of images and texts
context_channels = 768  # and of its text states

model = dict(
    type="DominoEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        size=crop_size,
        # to [-1, 1], as the VAE expects
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="DominoVPD",
        # Said here, its architecture needs no file when a trained checkpoint is used.
        weights=dict(name="stable-diffusion-v1-5/stable-diffusion-v1-5", architecture="sd15"),
        classes=dict(names=class_names, count=19),
        # As published: the domain enters in the neck. In cross-attention one vector for all classes
        # changes no map, and neither a displacement a class nor norms="all", which makes the UNet's
        # own norms domain-adaptive, has helped more (docs/bench.md).
        injection="none",
        # a map a class at strides 16 and 32; at 8 a crop has 64 x 64 positions, too many
        attention=dict(maps=(16, 32)),
        # convolutions run faster in this layout
        execution=dict(channels_last=True),
    ),
    neck=dict(
        type="DominoNorm",
        domain_channels=joint_channels,
        space="joint",
        # over the channels of each position; attention maps pass beside it
        norm="layer",
        injection="subtract",
        # the backbone says how many channels come in
        neck=dict(type="FPN", out_channels=256, num_outs=4),
    ),
    decode_head=dict(
        type="FPNHead",
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[8, 16, 32, 64],
        channels=256,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(
        mode="slide",
        crop_size=crop_size,
        stride=(341, 341),  # two thirds of the crop
        # the result does not depend on it; 18 windows cover 1024 x 2048
        windows_per_batch=4,
    ),
)

# ---- Training -----------------------------------------------------------------------------------
# 8 GPUs x 2 crops = 16, as VPD; the pipeline is that of _base_/domino_cityscapes_512x512.py, to
# which the mix-in adds LoadDomainEmbedding.
train_dataloader = dict(batch_size=2)
custom_imports = dict(imports=["mmseg_domino.plugin"], allow_failed_imports=False)

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    # groups by prefix and module type, logged as a table at the start
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=8e-5, betas=(0.9, 0.999), weight_decay=1e-3),
    # VPD: the pretrained UNet at a tenth of the rate, norms without decay; the VAE is frozen.
    # Adapters (domino.backbone.tune=lora) start untrained, so they learn at the full rate.
    paramwise_cfg=dict(lr_mult={"backbone.unet": 0.1}, new=r"\.lora_", norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=1500, end=80000, by_epoch=False),
]

# ---- Deployment: what mmseg.apis.inference_model does to an image of no data set -----------------
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="PackDominoInputs"),
]
