"""Foggy Cityscapes: the 500 val images in three densities of fog, each a domain, 2048x1024.

The images lie beside Cityscapes' own and share its labels."""

foggy_cityscapes_val = [
    dict(
        type="CityscapesDataset",
        data_root="data/cityscapes/",
        data_prefix=dict(img_path="leftImg8bit_foggy/val", seg_map_path="gtFine/val"),
        img_suffix=f"_leftImg8bit_foggy_beta_{beta}.png",
        pipeline=[
            dict(type="SetDomain", dataset="foggy_cityscapes", domain=f"beta_{beta}"),
            dict(type="LoadCheckedImage"),
            dict(type="Resize", scale=(2048, 1024), keep_ratio=True),
            dict(type="LoadCheckedAnnotations"),
            dict(type="PackDominoInputs"),
        ],
    )
    # Attenuation a metre: visibility of about 600, 300 and 150 m.
    for beta in ("0.005", "0.01", "0.02")
]
