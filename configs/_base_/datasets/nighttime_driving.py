"""Nighttime Driving: 50 images with coarse labels, 1920x1080."""

nighttime_driving_test_pipeline = [
    dict(type="SetDomain", dataset="nighttime_driving", domain="night"),
    dict(type="LoadCheckedImage"),
    dict(type="Resize", scale=(1920, 1080), keep_ratio=True),
    # After Resize: predictions are brought back to the size of the file and compared there.
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]

nighttime_driving_test = dict(
    type="NightDrivingDataset",
    data_root="data/NighttimeDrivingTest/",
    data_prefix=dict(
        img_path="leftImg8bit/test/night",
        seg_map_path="gtCoarse_daytime_trainvaltest/test/night",
    ),
    pipeline=nighttime_driving_test_pipeline,
)
