"""Mean embedding of example images of each domain: do examples beat words?

The stores are made of folders of unlabelled images, with tools/extract_domain_embeddings.py.
"""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(
    source="prototype",
    space="joint",
    prototypes={
        domain: f"data/domains/prototype_{domain}.safetensors"
        for domain in ("clear_day", "fog", "night", "rain", "snow")
    },
)
model = dict(
    backbone=dict(injection="none"),
    neck=dict(domain_channels=_base_.joint_channels),
)
