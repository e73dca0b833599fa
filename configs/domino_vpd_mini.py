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
        depth=dict(
            root="data/mini/cityscapes/disparity/train",
            camera_root="data/mini/cityscapes/camera/train",
            image_suffix="_leftImg8bit",
        )
    ),
)

crop_size = (256, 256)
joint_channels = 64
context_channels = 96
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        weights=dict(name=f"{models}/mini-sd", architecture=None),
        # at 256 x 256 stride 8 is small enough for maps, too
        attention=dict(maps=(8, 16, 32)),
        # the encoder is frozen, and more than half of a step
        vae=dict(cache="data/mini/latents"),
    ),
    neck=dict(domain_channels=joint_channels, neck=dict(out_channels=64)),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=64),
    test_cfg=dict(crop_size=crop_size, stride=(171, 171)),
)

smaller = dict(
    RandomResize=dict(scale=(512, 256), ratio_range=(1.0, 2.0)),
    RandomCrop=dict(crop_size=crop_size),
)
train_pipeline = [dict(step, **smaller.get(step["type"], {})) for step in _base_.train_pipeline]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(data_root="data/mini/cityscapes", pipeline=train_pipeline),
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
val_dataloader = dict(num_workers=1, dataset=source_val)
test_dataloader = dict(num_workers=1, dataset=dict(datasets=[source_val, target_val]))

# The UNet is pretrained: slower than the new layers, but not by ten as at full size, or 300
# iterations would hardly move it.
# One pass over all parameters a step (fused): hundreds of small ones otherwise cost as many calls.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, fused=True), paramwise_cfg=dict(lr_mult={"backbone.unet": 0.3})
)
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=30, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=30, end=300, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100, max_keep_ckpts=2))
