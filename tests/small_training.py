"""A segmentor that trains and tests in a second, as a config file with its data."""

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("road", "sky", "car")
CONFIG = """
default_scope = "mmseg"
custom_imports = dict(imports=["mmseg_domino.plugin"], allow_failed_imports=False)
norm = dict(type="BN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[127.0] * 3, std=[60.0] * 3,
                           bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size_divisor=32),
    backbone=dict(type="ResNetV1c", depth=18, base_channels=4, norm_cfg=norm),
    decode_head=dict(type="FCNHead", in_channels=8, in_index=1, channels=8, num_convs=1,
                     num_classes=3, norm_cfg=norm),
    test_cfg=dict(mode="whole"),
)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackDominoInputs"),
]
dataset = dict(
    type="BaseSegDataset", data_root="DATA", img_suffix=".png", seg_map_suffix=".png",
    data_prefix=dict(img_path="images", seg_map_path="labels"),
    metainfo=dict(classes=("road", "sky", "car"), palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    pipeline=[dict(type="SetDomain", dataset="small", domain="day"), *pipeline],
)
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dataset,
    sampler=dict(type="ResumableInfiniteSampler", shuffle=True),
)
test_dataloader = dict(
    batch_size=1, num_workers=0, dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=False)
)
test_evaluator = dict(type="DomainIoUMetric", source="small/day")
test_cfg = dict(type="TestLoop")
train_cfg = dict(type="IterBasedTrainLoop", max_iters=4, val_interval=1000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=1.0, begin=0, end=100, by_epoch=False)]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=1, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1, max_keep_ckpts=1),
)
custom_hooks = [dict(type="SeedIterationHook")]
randomness = dict(seed=0)
log_level = "WARNING"
"""


def write_small_training(folder: Path, images: int = 4) -> Path:
    """Write ``data/`` and ``config.py`` into a folder and return the config's path."""
    random = np.random.default_rng(0)
    for number in range(images):
        label = np.repeat(np.repeat(random.integers(0, 3, (4, 8), np.uint8), 8, 0), 8, 1)
        image = np.stack([label * 90 + 30] * 3, -1) + random.integers(0, 20, (32, 64, 3), np.uint8)
        for kind, array in (("images", image.astype(np.uint8)), ("labels", label)):
            path = folder / "data" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), array)
    path = folder / "config.py"
    path.write_text(CONFIG.replace("DATA", str(folder / "data")))
    return path
