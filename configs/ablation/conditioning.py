"""Which layers the domain conditions, by what embedding, and whether training sees domains.

All but those that end in -clear train on the same images: a share of them in weather by rule, whose
embedding is what CLIP sees in them. The flagship is unet-image-drop.
"""

#: The published architecture, without the domain.
_plain = {"domino.encode": "none", "model.backbone.injection": "none"}
#: The UNet's own norms, as the flagship.
_unet = {}
#: A norm between features and FPN, over the features.
_norm = dict(
    _delete_=True,
    type="DominoNorm",
    domain_channels="{{base.joint_channels}}",
    space="joint",
    norm="layer",
    neck="{{base.model.neck}}",
)
_neck = {"model.backbone.injection": "none", "model.neck": dict(_norm, injection="subtract")}
_both = {"model.neck": _neck["model.neck"]}
_attention = {
    "model.backbone.norms": None, "model.backbone.attention.injection": "subtract",
}  # fmt: skip
_no_drop = {"domino.train.drop": 0.0}
_soft = {"domino.source": "soft", "domino.space": ("joint", "context"), **_no_drop}
_image = {"domino.source": "image", "domino.space": "joint", **_no_drop}
_drop = {"domino.train.drop": 0.5}
_classwise = {"model.backbone.attention.classwise": dict(bank="acdc")}
_centred = {"model.backbone.centre": "clear_day"}
_clear = {"domino.weather": None}

base = "../domino_vpd_cityscapes.py"
conditions = {
    "plain": _plain,
    "plain-clear": {**_plain, **_clear},
    # the neck's norm alone, without an embedding
    "neck-none": {**_plain, "model.neck": dict(_norm, injection="none")},
    # norms, by CLIP's image embedding
    "unet-image": {**_unet, **_image},
    "unet-image-drop": {**_unet, **_image, **_drop},
    "neck-image": {**_neck, **_image},
    "both-image": {**_both, **_image},
    # norms, by the texts of the domains
    "unet-soft": {**_unet, **_soft},
    "unet-soft-context": {
        **_unet,
        **_soft,
        "domino.space": "context",
        "model.backbone.domain_channels": "{{base.context_channels}}",
    },
    "unet-soft-centred": {**_unet, **_soft, **_centred},
    "unet-soft-drop": {**_unet, **_soft, **_drop},
    "neck-soft": {**_neck, **_soft},
    "both-soft": {**_both, **_soft},
    # trained as unet-soft, and told at the test that every image is a clear day
    "unet-soft-forced": {**_unet, **_soft, "domino.test": dict(force="clear_day")},
    # cross-attention, through a gate that starts at zero
    "attention": {**_attention, **_soft},
    "attention-centred": {**_attention, **_soft, **_centred},
    "classwise": {**_attention, **_soft, **_classwise},
    "classwise-centred": {**_attention, **_soft, **_classwise, **_centred},
    # training that never sees another domain
    "unet-image-clear": {**_unet, **_image, **_clear},
    "unet-soft-clear": {**_unet, **_soft, **_clear},
}
