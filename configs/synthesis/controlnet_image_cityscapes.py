"""The same from the real photo instead of noise: layout and texture stay, the weather changes."""

_base_ = "./controlnet_cityscapes.py"
synthesis = dict(generator=dict(mode="image", strength=0.7))
