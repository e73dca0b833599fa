"""What the domain embedding of the flagship is made of; see docs/domains.md.

All lie in the joint space, where CLIP compares images with texts.
"""

base = "../domino_vpd_cityscapes.py"
conditions = {
    # score-weighted mean of the domains' texts: the flagship
    "soft": {"domino.source": "soft"},
    # CLIP's image embedding: are the words needed at all?
    "image": {"domino.source": "image"},
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
    # a table by domain, from the text on: is the text's geometry needed?
    "learned": dict(
        domino=dict(
            source="learned",
            domain_table=dict(
                num_domains=5,
                channels="{{base.joint_channels}}",
                init_store="{{base.domino.store}}",
            ),
        ),
    ),
    # mean embedding of example images of each domain: do examples beat words? The stores are made
    # of folders of unlabelled images
    "prototype": {
        "domino.source": "prototype",
        "domino.prototypes": {
            domain: f"data/domains/prototype_{domain}.safetensors"
            for domain in ("clear_day", "fog", "night", "rain", "snow")
        },
    },
}
