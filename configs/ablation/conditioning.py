"""Which layers the domain conditions, by what embedding, and whether training sees domains.

All but those that end in -clear train on the same images: a share of them in weather by rule, whose
embedding is what CLIP sees in them.
"""

_attention_off = {"model.backbone.attention.injection": "none"}
_neck_off = {"model.neck.injection": "none", "model.neck.norm": "none"}
_clip = {"domino.weather.embedding": "clip"}

#: The published architecture, without the domain.
_plain = {"domino.encode": "none", "model.backbone.injection": "none", **_neck_off}
_unet = {
    "model.backbone.injection": "subtract", "model.backbone.norms": "all",
    **_attention_off, **_neck_off, **_clip,
}  # fmt: skip
_neck = {
    "model.backbone.injection": "none",
    "model.neck.injection": "subtract", "model.neck.norm": "layer", **_clip,
}  # fmt: skip
_both = {**_unet, "model.neck.injection": "subtract", "model.neck.norm": "layer"}
_attention = {
    "model.backbone.injection": "subtract", "model.backbone.norms": None,
    "model.backbone.attention.injection": "subtract", **_neck_off, **_clip,
}  # fmt: skip
_soft = {"domino.source": "soft", "domino.space": ("joint", "context")}
_image = {"domino.source": "image", "domino.space": "joint"}
_classwise = {"model.backbone.attention.classwise": dict(bank="acdc")}
_centred = {"model.backbone.centre": "clear_day"}
_clear = {"domino.weather": None}

base = "../domino_vpd_cityscapes.py"
conditions = {
    "plain": _plain,
    "plain-clear": {**_plain, **_clear},
    # the neck's norm alone, without an embedding
    "neck-none": {**_neck, "domino.encode": "none", "model.neck.injection": "none"},
    # norms, by CLIP's image embedding
    "unet-image": {**_unet, **_image},
    "unet-image-drop": {**_unet, **_image, "domino.train": dict(drop=0.5)},
    "neck-image": {**_neck, **_image},
    "both-image": {**_both, **_image},
    # norms, by the texts of the domains
    "unet-soft": {**_unet, **_soft},
    "unet-soft-context": {**_unet, "domino.source": "soft", "domino.space": "context"},
    "unet-soft-centred": {**_unet, **_soft, **_centred},
    "unet-soft-drop": {**_unet, **_soft, "domino.train": dict(drop=0.5)},
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
for _name in ("unet-image-clear", "unet-soft-clear"):
    conditions[_name].pop("domino.weather.embedding")
