"""CamVid by day to dusk with an ImageNet backbone: EfficientNet-Lite0 under an FPN.

`python -m benchmarks.photographs` makes what it reads below data/.
"""

_base_ = [
    "../settings/camvid_day_to_dusk.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/domino.py",
]
custom_imports = dict(imports=["mmseg_domino.plugin"], allow_failed_imports=False)

domino = dict(
    store="data/camvid.safetensors",
    # The miniature CLIP: it was trained on the procedural street world, not on photographs.
    encoder=dict(model="local-dir:data/mini/models/mini-clip", bank="time_of_day"),
    domain_channels=64,
    source="image",
    space="joint",
    backbone=dict(injection="subtract", norms=dict(hidden_channels=16), tune="full"),
    weather=dict(prob=0.5, domains=("night",), embedding="clip"),
)

crop_size = (192, 192)
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        size=crop_size,
        # what these weights were trained with
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type="TIMMBackbone",
        model_name="tf_efficientnet_lite0",
        features_only=True,
        pretrained=False,
        out_indices=(1, 2, 3, 4),
        init_cfg=dict(type="Pretrained", checkpoint="data/efficientnet_lite0.safetensors"),
    ),
    neck=dict(type="FPN", in_channels=[24, 40, 112, 320], out_channels=64, num_outs=4),
    decode_head=dict(
        type="FPNHead",
        in_channels=[64] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=64,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

train_pipeline = [
    dict(type="SeedSample"),
    *(
        dict(step, crop_size=crop_size) if step["type"] == "RandomCrop" else step
        for step in _base_.camvid_train_pipeline
    ),
]
camvid_classes = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
domino["weather"]["classes"] = camvid_classes
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type="ResumableInfiniteSampler", shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
test_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = None
val_cfg = None
val_evaluator = None
test_cfg = dict(type="TestLoop")
randomness = dict(seed=0)

iterations = 120
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.01, fused=True),
    # what is pretrained at a tenth of the rate, what starts untrained inside it at the full one
    paramwise_cfg=dict(lr_mult={"backbone": 0.1}, new=r"\.domain\.", norm_decay_mult=0.0),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=12, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=12, end=iterations, by_epoch=False),
]
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=60, max_keep_ckpts=1),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
