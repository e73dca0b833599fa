"""Real images alone for the first quarter of training, then 4:1."""

_base_ = "../../synthesis/domino_vpd_cityscapes_4to1.py"
train_dataloader = dict(
    dataset=dict(
        ratio="1:0",
        # in samples of all processes: 20,000 iterations x 8 GPUs x 2 images
        schedule=[dict(begin=320_000, ratio="4:1")],
    )
)
