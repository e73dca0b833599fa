"""A table by domain, from the text on: is the text's geometry needed?

A domain without training images keeps its text; mix in synthetic images of the others.
"""

_base_ = "../../domino_vpd_cityscapes.py"
domino = dict(
    source="learned",
    domain_table=dict(
        num_domains=5,
        channels=_base_.model.neck.domain_channels,
        init_store=_base_.domino.store,
    ),
)
