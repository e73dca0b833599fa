"""Weather without a model: what generated images must beat. Depth is Cityscapes' disparity."""

_base_ = "./controlnet_cityscapes.py"
synthesis = dict(
    generator=dict(
        _delete_=True,
        type="ClassicalWeather",
        # disparity_trainvaltest.zip; depth=None for a plane through the labels' road
        depth=dict(root="data/cityscapes/disparity/train"),
        visibility=(75.0, 300.0),  # metres: beta from 0.04 to 0.01
    ),
    # The four domains are made by rule: CLIP need not be asked.
    gate=dict(_delete_=True, max_duplicate_distance=None),
)
