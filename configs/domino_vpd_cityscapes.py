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
    # The text tower of Stable Diffusion 1.x, so that its states fit the UNet's cross-attention.
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    # The five domains' text states, weighted by CLIP's scores.
    source="soft",
    space="context",
    # VPD takes the embedding through its cross-attention; its own norms stay as they are.
    backbone=None,
)

# ---- The model ----------------------------------------------------------------------------------
crop_size = (512, 512)  # what Stable Diffusion 1.x was trained on
class_names = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign',
    'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train',
    'motorcycle', 'bicycle')  # fmt: skip
feature_channels = [
    320,  # stride 8: 64 x 64 positions a crop, too many for attention maps
    640 + 19,  # stride 16, with a map a class
    1280 + 19,  # stride 32, with a map a class
    1280,  # stride 64
]
domain_channels = 768  # width of CLIP ViT-L/14's text states
joint_channels = 768  # and of its space of images and texts: for joint-* of ablation/embedding.py

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
        weights="stable-diffusion-v1-5/stable-diffusion-v1-5",
        classes=class_names,
        num_classes=19,
        # class tokens minus the domain embedding: the paper's best
        injection="subtract",
        # convolutions run faster in this layout
        channels_last=True,
    ),
    neck=dict(
        type="DominoNorm",
        in_channels=feature_channels,
        domain_channels=domain_channels,
        # over the channels of each position: 659 is prime and takes no groups
        norm="layer",
        injection="subtract",
        neck=dict(type="FPN", in_channels=feature_channels, out_channels=256, num_outs=4),
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
    # Adapters (model.backbone.finetune=lora) start untrained, so they learn at the full rate.
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
