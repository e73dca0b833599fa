"""What the domain embedding of the flagship is made of; see docs/domains.md.

The joint conditions go through the norms alone: images exist in the joint space only, and
cross-attention was trained in the other. They compare with joint-soft.
"""

base = "../domino_vpd_cityscapes.py"
_joint = {"domino.space": "joint", "model.backbone.injection": "none"}
conditions = {
    # score-weighted mean of the domains' texts: the flagship
    "soft": {"domino.source": "soft"},
    # text of the likeliest domain: does a hard choice suffice?
    "argmax": {"domino.source": "argmax"},
    # soft, minus the bank's mean text: is what all prompts share in the way?
    "residual": {"domino.source": "residual"},
    # text of the true condition: the upper bound
    "oracle": {"domino.source": "oracle"},
    # a random vector a domain, fixed by its name: the control
    "random": {"domino.source": "random"},
    # the control of the oracle: the true condition's random vector
    "random-oracle": {"domino.source": "random", "domino.assign": "oracle"},
    # zeros: all of the same network, without domain information
    "null": {"domino.source": "null"},
    # a table by domain, from the text on: is the text's geometry needed? A domain without training
    # images keeps its text; mix in synthetic images of the others
    "learned": dict(
        domino=dict(
            source="learned",
            space="context",
            domain_table=dict(
                num_domains=5,
                channels="{{base.context_channels}}",
                init_store="{{base.domino.store}}",
            ),
        ),
        model=dict(neck=dict(space="context", domain_channels="{{base.context_channels}}")),
    ),
    # soft text in the joint space: what the two below compare with
    "joint-soft": {"domino.source": "soft", **_joint},
    # CLIP's image embedding: are the words needed at all?
    "joint-image": {"domino.source": "image", **_joint},
    # mean embedding of example images of each domain: do examples beat words? The stores are made
    # of folders of unlabelled images
    "joint-prototype": {
        "domino.source": "prototype",
        "domino.prototypes": {
            domain: f"data/domains/prototype_{domain}.safetensors"
            for domain in ("clear_day", "fog", "night", "rain", "snow")
        },
        **_joint,
    },
}
