"""Cityscapes-C: the 500 val images in 15 corruptions x 5 severities, made on the fly.

Each corruption and severity is a domain, such as `cityscapes_c/fog_3`. Needs the package
imagecorruptions-imaug (`pip install 'mmseg_domino[corruptions]'`). A file is always corrupted
in the same way. All 75 are 37,500 images: shorten the lists of the base for less."""

_base_ = "../cityscapes_c.py"

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
    for corruption in _base_.cityscapes_c_corruptions
    for severity in _base_.cityscapes_c_severities
]
