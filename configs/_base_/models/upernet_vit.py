"""A plain vision transformer of width 1024 under UPerNet.

Four of its blocks give one stride each; `Feature2Pyramid` makes strides of a quarter, half, one and
two patches of them. A child gives the backbone.
"""

_base_ = "./upernet.py"
model = dict(
    neck=dict(type="Feature2Pyramid", embed_dim=1024, rescales=[4, 2, 1, 0.5]),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
)
