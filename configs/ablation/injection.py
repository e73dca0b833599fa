"""Where and how the domain embedding enters the flagship.

Cross-attention takes add, subtract, concat and none; the norms take add, subtract and none, as one
more token has no meaning there. In the norms a learned sign makes add and subtract two starting
points of one family; the tied ones, whose modulation keeps the embedding's direction, tell them
apart. Cross-attention takes text in its own space, so all are made of soft text here, each part's
in the space that it takes.
"""

_soft = {"domino.source": "soft", "domino.space": ("joint", "context")}
_attention = {**_soft, "model.backbone.norms": None}
_tied = dict(_delete_=True, layers="all", tied=True)
_norms = {**_soft, "model.backbone.attention.injection": "none"}


def _inject(places, injection):
    attention = "none" if places is _norms else injection
    norms = "subtract" if injection == "concat" else injection
    return {
        **places,
        "model.backbone.injection": norms,
        "model.backbone.attention.injection": attention,
    }


base = "../domino_vpd_cityscapes.py"
conditions = {
    # no domain anywhere: plain VPD
    "none": {"domino.encode": "none", "model.backbone.injection": "none"},
    # cross-attention alone, through a gate that starts at zero
    "add_attention": _inject(_attention, "add"),
    "subtract_attention": _inject(_attention, "subtract"),
    "concat_attention": _inject(_attention, "concat"),
    # and without the gate, as the paper
    "subtract_attention-ungated": {
        **_inject(_attention, "subtract"), "model.backbone.attention.gate": False,
    },
    # norms alone, cross-attention over the classes
    "add_norm": _inject(_norms, "add"),
    "subtract_norm": _inject(_norms, "subtract"),
    "add_norm-tied": {
        **_inject(_norms, "add"), "model.backbone.norms": _tied,
    },
    "subtract_norm-tied": {
        **_inject(_norms, "subtract"), "model.backbone.norms": _tied,
    },
    "add_both": _inject(_soft, "add"),
    "subtract_both": _inject(_soft, "subtract"),
    "concat_both": _inject(_soft, "concat"),
}  # fmt: skip
