"""Which layers the domain conditions, by what embedding, and whether training sees domains.

All but those that end in -clear train on the same images: a share of them in weather by rule, whose
embedding is what CLIP sees in them. The flagship is neck-soft.
"""

#: No norm between features and FPN, as published.
_fpn = {
    "model.neck": dict(
        _delete_=True,
        type="FPN",
        out_channels="{{base.model.neck.neck.out_channels}}",
        num_outs=4,
    ),
}
#: The published architecture, without the domain.
_plain = {"domino.encode": "none", **_fpn}
#: The UNet's own norms, and the neck's, too.
_both = {
    "model.backbone.injection": "subtract",
    "model.backbone.norms": "all",
    "model.backbone.attention.injection": "none",
    "model.backbone.domain_channels": "{{base.joint_channels}}",
}
_unet = {**_both, **_fpn}
_attention = {
    "domino.space": ("joint", "context"),
    "model.backbone.injection": "subtract",
    **_fpn,
}
_soft = {"domino.source": "soft"}
_image = {"domino.source": "image"}
_drop = {"domino.train": dict(drop=0.5)}
_classwise = {"model.backbone.attention.classwise": dict(bank="acdc")}
_centred = {"model.backbone.centre": "clear_day"}
_clear = {"domino.weather": None}

base = "../domino_vpd_cityscapes.py"
conditions = {
    "plain": _plain,
    "plain-clear": {**_plain, **_clear},
    # the neck's norm alone, without an embedding
    "neck-none": {"domino.encode": "none", "model.neck.injection": "none"},
    # norms, by CLIP's image embedding
    "unet-image": {**_unet, **_image},
    "unet-image-drop": {**_unet, **_image, **_drop},
    "neck-image": {**_image},
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
    "neck-soft": {**_soft},
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
