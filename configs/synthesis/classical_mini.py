"""Weather without a model on the street world (`domino data mini` makes it)."""

_base_ = "./classical_cityscapes.py"

train_dataloader = dict(dataset=dict(data_root="data/mini/cityscapes"))
synthesis = dict(
    generator=dict(
        depth=dict(
            root="data/mini/cityscapes/disparity/train",
            # Each scene has a camera of its own.
            camera_root="data/mini/cityscapes/camera/train",
        ),
    ),
    # Scores are measured for the summary; without a threshold they reject nothing. Mini-CLIP knows
    # weather as the street world renders it; benchmarks/weather.py says what it makes of these.
    gate=dict(
        encoder=dict(model="local-dir:data/mini/models/mini-clip"),
        max_duplicate_distance=4,
    ),
)
