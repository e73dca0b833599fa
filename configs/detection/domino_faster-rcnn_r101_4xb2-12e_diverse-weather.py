"""Faster R-CNN, ResNet-101 with domain-adaptive norms, on Diverse Weather (S-DGOD).

Before the first run: domino domains extract CONFIG.
"""

_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/datasets/diverse_weather.py",
    "../_base_/domino_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
domino = dict(
    store="data/domains/diverse_weather.safetensors",
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    source="soft",
    space="joint",
)
model = dict(
    backbone=dict(
        depth=101,
        frozen_stages=-1,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101"),
    ),
    roi_head=dict(bbox_head=dict(num_classes=7)),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=_base_.diverse_weather_train,
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ConcatDataset", datasets=_base_.diverse_weather_test),
)
# Validation sees the source alone.
val_dataloader = dict(test_dataloader, dataset=_base_.diverse_weather_test[0])
test_evaluator = dict(
    type="DomainDetectionMetric", metric="bbox", source="diverse_weather/day_clear"
)
val_evaluator = test_evaluator
# 4 GPUs x 2; the schedule's rate is for 16 images
optim_wrapper = dict(optimizer=dict(lr=0.01))
