"""Stable Diffusion's UNet (VPD) under UPerNet; under its own FPN: domino_vpd_cityscapes.py."""

_base_ = "./upernet.py"
model = dict(
    data_preprocessor=dict(
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
    backbone=dict(
        type="DominoVPD",
        weights=dict(name="stable-diffusion-v1-5/stable-diffusion-v1-5", architecture="sd15"),
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
    ),
    # The backbone says what the head's in_channels are.
)
