"""Cityscapes-C: the 500 val images in 15 corruptions x 5 severities, made on the fly.

Each corruption and severity is a domain, such as `cityscapes_c/fog_3`. Needs the package
imagecorruptions-imaug (`pip install 'mmseg_domino[corruptions]'`). A file is always corrupted
in the same way. All 75 are 37,500 images: shorten the lists for less."""

cityscapes_c_corruptions = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
cityscapes_c_severities = (1, 2, 3, 4, 5)
cityscapes_c_val = [
    dict(
        type="CityscapesDataset",
        data_root="data/cityscapes/",
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        # MMEngine collects garbage whenever it serialises a list, here 75 times.
        serialize_data=False,
        pipeline=[
            dict(type="SetDomain", dataset="cityscapes_c", domain=f"{corruption}_{severity}"),
            dict(type="LoadCheckedImage"),
            dict(type="Corrupt", corruption=corruption, severity=severity),
            dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
            dict(type="LoadCheckedAnnotations"),
            dict(type="PackDominoInputs"),
        ],
    )
    for corruption in cityscapes_c_corruptions
    for severity in cityscapes_c_severities
]
