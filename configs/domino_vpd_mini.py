"""The embedded default: the flagship at miniature size, on the procedural street world.

`domino data mini` makes data and models below data/mini; nothing is downloaded.
"""

_base_ = ["./domino_vpd_cityscapes.py"]

models = "data/mini/models"
domino = dict(
    store="data/mini/domains.safetensors",
    encoder=dict(_delete_=True, model=f"local-dir:{models}/mini-clip", bank="acdc"),
    domain_channels=dict(joint=64, context=96),
    weather=dict(
        prob=0.33,  # so short a training needs its clear days
        depth=dict(
            root="data/mini/cityscapes/disparity/train",
            camera_root="data/mini/cityscapes/camera/train",
            image_suffix="_leftImg8bit",
        ),
    ),
)

crop_size = (128, 128)
# One over the root of each class's share of the pixels, 1 on average over the pixels: else so
# short a training finds nothing that is rare.
class_weight = [0.5, 1.5, 0.7, 4, 5, 2.2, 8, 3.7, 0.9, 2,
                1.1, 3.7, 6.4, 1.1, 6.1, 6.8, 2.9, 7.6, 7.7]  # fmt: skip
joint_channels = 64
context_channels = 96
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        weights=dict(name=f"{models}/mini-sd", architecture=None),
        # at 128 x 128 stride 8 is small enough for maps, too
        attention=dict(maps=(8, 16, 32)),
        # the encoder is frozen, and more than half of a step
        vae=dict(cache="data/mini/latents"),
    ),
    neck=dict(domain_channels=joint_channels, neck=dict(out_channels=64)),
    decode_head=dict(
        in_channels=[64, 64, 64, 64], channels=64, loss_decode=dict(class_weight=class_weight)
    ),
    # Frames of 128 x 256 are small enough to be seen whole.
    test_cfg=dict(_delete_=True, mode="whole"),
)

changed = dict(
    # So few that the encoder's work on them can be kept.
    SeedSample=dict(variants=4),
    RandomResize=dict(scale=(256, 128), ratio_range=(1.0, 1.5)),
    RandomCrop=dict(crop_size=crop_size),
)
train_pipeline = [
    dict(step, **changed.get(step["type"], {}))
    for step in _base_.train_pipeline
    # Weather changes the colours already.
    if step["type"] != "PhotoMetricDistortion"
]
# One thread a run: a loader process of its own would only take turns with it.
one_thread = dict(num_workers=0, persistent_workers=False)
train_set = dict(
    _base_.train_dataloader.dataset, data_root="data/mini/cityscapes", pipeline=train_pipeline
)
train_dataloader = dict(
    batch_size=4,
    # The pipeline is a quarter of a step, and an image's variants come round three times.
    dataset=dict(_delete_=True, type="CachedDataset", dataset=train_set),
    **one_thread,
)

# At their own size: no Resize.
loading = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="PackDominoInputs"),
]
source_val = dict(
    _base_.cityscapes_val,
    data_root="data/mini/cityscapes",
    pipeline=[dict(type="SetDomain", dataset="cityscapes", domain="clear_day"), *loading],
)
target_val = dict(_base_.acdc_val, data_root="data/mini/acdc", pipeline=loading)
test_dataloader = dict(batch_size=8, dataset=dict(datasets=[source_val, target_val]), **one_thread)
val_dataloader = dict(batch_size=8, dataset=source_val, **one_thread)

# The UNet is pretrained: slower than the new layers, but not by ten as at full size, or so few
# iterations would hardly move it. Fused: one call for all parameters, hundreds of small ones.
iterations = 800
optim_wrapper = dict(
    optimizer=dict(lr=1.4e-3, fused=True), paramwise_cfg=dict(lr_mult={"backbone.unet": 0.5})
)
# Validated once, at the end: no checkpoint is chosen.
train_cfg = dict(max_iters=iterations, val_interval=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=400, max_keep_ckpts=1))
