"""Stable Diffusion's UNet (VPD) under UPerNet; under its own FPN: domino_vpd_cityscapes.py."""

_base_ = "./upernet.py"
model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(
        type="DominoVPD",
        weights="stable-diffusion-v1-5/stable-diffusion-v1-5",
        classes=(
            "road",
            "sidewalk",
            "building",
            "wall",
            "fence",
            "pole",
            "traffic light",
            "traffic sign",
            "vegetation",
            "terrain",
            "sky",
            "person",
            "rider",
            "car",
            "truck",
            "bus",
            "train",
            "motorcycle",
            "bicycle",
        ),
        num_classes=19,
        injection="subtract",
    ),
    # 19 attention maps at strides 16 and 32
    decode_head=dict(in_channels=[320, 640 + 19, 1280 + 19, 1280]),
)
