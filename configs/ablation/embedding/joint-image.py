"""CLIP's image embedding: are the words needed at all?

It exists in the joint space only, where cross-attention was not trained: through the norms.
"""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(source="image", space="joint")
model = dict(
    backbone=dict(injection="none"),
    neck=dict(domain_channels=_base_.joint_channels),
)
