"""Diverse Weather (S-DGOD): trained on clear days, tested on five kinds of weather; 7 classes.

Folders as published: daytime_clear, Night-Sunny, dusk_rainy, night_rainy, daytime_foggy, each with
VOC2007 below it."""

custom_imports = dict(
    imports=["mmseg_domino.plugin", "mmseg_domino.detection"], allow_failed_imports=False
)
diverse_weather_domains = ("day_clear", "night_clear", "dusk_rain", "night_rain", "day_fog")
diverse_weather_train = dict(
    type="DiverseWeatherDataset",
    domain="day_clear",
    split="train",
    data_root="data/diverse_weather/",
    filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=32),
    pipeline=[
        dict(type="SeedSample"),
        dict(type="LoadCheckedImage"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True),
        dict(
            type="RandomResize",
            resize_type="mmdet.Resize",
            scale=[(1333, 600), (1333, 800)],
            keep_ratio=True,
        ),
        dict(type="mmdet.RandomFlip", prob=0.5),
        dict(type="PackDominoDetInputs"),
    ],
)
diverse_weather_test = [
    dict(
        type="DiverseWeatherDataset",
        domain=domain,
        split="test",
        data_root="data/diverse_weather/",
        test_mode=True,
        pipeline=[
            dict(type="LoadCheckedImage"),
            dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True),
            dict(type="mmdet.LoadAnnotations", with_bbox=True),
            dict(type="PackDominoDetInputs", truth=True),
        ],
    )
    for domain in diverse_weather_domains
]
