"""Where and how the domain embedding enters the flagship.

Cross-attention takes add, subtract, concat and none; the neck's norms take add, subtract and none,
as one more token has no meaning there. In the norms a learned sign makes add and subtract two
starting points of one family; the tied ones, whose modulation keeps the embedding's direction, tell
them apart. Each part takes the text in its own space.
"""

#: No norm between features and FPN.
_no_norm = {"model.neck.injection": "none", "model.neck.norm": "none"}
_spaces = {"domino.space": ("joint", "context")}


def _attention(injection):
    return {**_spaces, "model.backbone.injection": injection}


base = "../domino_vpd_cityscapes.py"
conditions = {
    # no domain anywhere: plain VPD
    "none": {"domino.encode": "none", **_no_norm},
    # cross-attention alone, through a gate that starts at zero
    "add_attention": {**_attention("add"), **_no_norm},
    "subtract_attention": {**_attention("subtract"), **_no_norm},
    "concat_attention": {**_attention("concat"), **_no_norm},
    # and without the gate, as the paper
    "subtract_attention-ungated": {
        **_attention("subtract"), **_no_norm, "model.backbone.attention.gate": False,
    },
    # norms alone, cross-attention over the classes
    "add_norm": {"model.neck.injection": "add"},
    "subtract_norm": {"model.neck.injection": "subtract"},
    "add_norm-tied": {"model.neck.injection": "add", "model.neck.tied": True},
    "subtract_norm-tied": {"model.neck.injection": "subtract", "model.neck.tied": True},
    "add_both": {**_attention("add"), "model.neck.injection": "add"},
    "subtract_both": {**_attention("subtract"), "model.neck.injection": "subtract"},
    "concat_both": {**_attention("concat"), "model.neck.injection": "subtract"},
}  # fmt: skip
