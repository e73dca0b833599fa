"""A stock SegFormer, made domain-aware by one more base, on real images: CamVid by day to dusk.

    domino data mini        # once: makes the miniature CLIP, nothing is downloaded
    domino train configs/examples/domino_segformer_camvid.py --data-root CAMVID
    domino test configs/examples/domino_segformer_camvid.py \
        work_dirs/domino_segformer_camvid/iter_400.pth --data-root CAMVID

CAMVID holds img/<condition>/<split>/*.jpg and label/<condition>/<split>/*.png (docs/data.md).
"""

_base_ = [
    "mmseg::_base_/models/segformer_mit-b0.py",
    "mmseg::_base_/default_runtime.py",
    "mmseg::_base_/schedules/schedule_20k.py",
    "../settings/camvid_day_to_dusk.py",  # trains on day; tests day and dusk apart
    "../_base_/domino.py",
]

domino = dict(
    # CLIP sees each image before it is cropped. The miniature needs no download but knows only
    # the procedural street world; with a network take
    #   encoder=dict(model='ViT-L-14', pretrained='openai', bank='time_of_day')
    # and domain_channels=768.
    encode="pipeline",
    encoder=dict(model="local-dir:data/mini/models/mini-clip", bank="time_of_day"),
    domain_channels=64,
    source="soft",
    space="joint",
    backbone=dict(injection="subtract", norms=dict(hidden_channels=16)),
)

crop_size = (320, 320)
norm_cfg = dict(type="BN", requires_grad=True)  # one process: no SyncBN
model = dict(
    data_preprocessor=dict(size=crop_size), decode_head=dict(num_classes=11, norm_cfg=norm_cfg)
)

# From scratch, 153 images: short, to show the way rather than a result.
train_cfg = dict(max_iters=400, val_interval=400)
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=6e-4, weight_decay=0.01)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=40, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=40, end=400, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=2))
randomness = dict(seed=0)
