"""Each backbone of configs/backbones with Domino (domino_NAME) and without (upernet_NAME)."""

_file = "../backbones/domino_{}_8xb2-40k_cityscapes-512x512.py"
_names = (
    "r50", "r101", "mit-b5", "swin-l", "convnext-l", "clip-l", "dinov2-s", "dinov2-b", "dinov2-l",
    "dinov3-l", "eva02-l", "mae-l", "sam-l", "siglip-l", "vpd",
)  # fmt: skip
conditions = {
    **{f"domino_{name}": dict(base=_file.format(name)) for name in _names},
    **{
        f"upernet_{name}": dict(
            base=_file.format(name), domino=dict(encode="none", backbone=dict(injection="none"))
        )
        for name in _names
    },
}
