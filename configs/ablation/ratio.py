"""Real to synthetic images in training, as many samples in all; see docs/synthesis.md."""

base = "../synthesis/domino_vpd_cityscapes_4to1.py"
conditions = {
    "1to0": {"train_dataloader.dataset.ratio": "1:0"},
    "8to1": {"train_dataloader.dataset.ratio": "8:1"},
    "4to1": {"train_dataloader.dataset.ratio": "4:1"},  # the paper's
    "2to1": {"train_dataloader.dataset.ratio": "2:1"},
    "1to1": {"train_dataloader.dataset.ratio": "1:1"},
    # real images alone for the first quarter of training
    "1to0-4to1": dict(
        train_dataloader=dict(
            dataset=dict(
                ratio="1:0",
                # in samples of all processes: 20,000 iterations x 8 GPUs x 2 images
                schedule=[dict(begin=320_000, ratio="4:1")],
            )
        )
    ),
    # 4:1 without the domain: what mixing brings by itself
    "none_4to1": {
        "domino.encode": "none",
        "model.neck.injection": "none",
        "model.neck.norm": "none",
    },
}
