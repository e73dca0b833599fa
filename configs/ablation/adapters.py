"""Adapters with Domino (domino_NAME) and without (plain_NAME): DINOv2-L under Mask2Former.

The head, the data and the schedule are SoMA's for ACDC; what differs is what of the backbone is
trained, with the rate that the adapter's authors give it. Rein's queries are linked to the head.
"""

base = "../recipes/soma_dinov2-l_4xb2-40k_cityscapes-512x512.py"
_head = "model.decode_head.type"
_rate = "optim_wrapper.paramwise_cfg.lr_mult"
_tunes = {
    "full": {"domino.backbone.adapter": None, _rate: {"backbone": 0.1}},
    "frozen": {"domino.backbone.adapter": None},
    "norms": {"domino.backbone.adapter": None},
    "lora": {"domino.backbone.adapter": dict(_delete_=True, rank=16), _rate: {"backbone": 1.0}},
    "rein": {
        "domino.backbone.adapter": dict(
            _delete_=True, token_length=100, rank=16, link_token_to_query=True, query_dims=256
        ),
        _head: "ReinMask2FormerHead",
        _rate: {"backbone": 1.0},
        "optim_wrapper.paramwise_cfg.decay_mult": dict(
            _delete_=True, **{"decode_head.level_embed": 0.0}
        ),
    },
    "soma": {},
}
_domino = {"domino.encode": "store", "domino.backbone.injection": "subtract"}
conditions = {
    f"{prefix}_{name}": {"domino.backbone.tune": name, **changes, **more}
    for name, changes in _tunes.items()
    for prefix, more in (("plain", {}), ("domino", _domino))
}
