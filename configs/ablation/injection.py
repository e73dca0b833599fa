"""Where and how the domain embedding enters the flagship.

Cross-attention takes add, subtract, concat and none; the norms take add, subtract and none, as one
more token has no meaning there. In the norms a learned sign makes add and subtract two starting
points of one family; the tied ones, whose modulation keeps the embedding's direction, tell them
apart.
"""

#: Features as they are, as plain VPD hands them to the FPN.
_no_norm = {"model.neck.injection": "none", "model.neck.norm": "none"}

base = "../domino_vpd_cityscapes.py"
conditions = {
    # no domain anywhere: plain VPD, source only
    "none": {"model.backbone.injection": "none", **_no_norm},
    # cross-attention alone
    "add_attention": {"model.backbone.injection": "add", **_no_norm},
    "subtract_attention": {"model.backbone.injection": "subtract", **_no_norm},
    "concat_attention": {"model.backbone.injection": "concat", **_no_norm},
    # norms alone, cross-attention over the classes
    "add_norm": {"model.backbone.injection": "none", "model.neck.injection": "add"},
    "subtract_norm": {"model.backbone.injection": "none", "model.neck.injection": "subtract"},
    "add_norm-tied": {
        "model.backbone.injection": "none",
        "model.neck.injection": "add",
        "model.neck.tied": True,
    },
    "subtract_norm-tied": {
        "model.backbone.injection": "none",
        "model.neck.injection": "subtract",
        "model.neck.tied": True,
    },
    # both; subtract_both is the flagship
    "add_both": {"model.backbone.injection": "add", "model.neck.injection": "add"},
    "subtract_both": {"model.backbone.injection": "subtract", "model.neck.injection": "subtract"},
    "concat_both": {"model.backbone.injection": "concat", "model.neck.injection": "subtract"},
}
