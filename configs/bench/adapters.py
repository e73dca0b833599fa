"""Adapters on the mini-SD, without the domain embedding (plain_NAME) and with it (domino_NAME).

configs/ablation/adapters.py in miniature. The UNet is frozen; FPN's head takes no linked queries.
"""

base = "domino_vpd_bench.py"
_tunes = {
    # adapters start untrained: at the full rate
    "lora": dict(adapter=dict(rank=8), new=r"\.lora_"),
    "rein": dict(adapter=dict(token_length=16, rank=4), new=None),
    # minor components are pretrained: at the UNet's rate
    "soma": dict(adapter=dict(rank=8, start_block=8), new=None),
}
_plain = {
    "model.backbone.injection": "none",
    "model.neck.injection": "none",
    "model.neck.norm": "none",
}
conditions = {
    f"{prefix}_{name}": {
        "model.backbone.tune": name,
        "model.backbone.adapter": tune["adapter"],
        "optim_wrapper.paramwise_cfg.new": tune["new"],
        **more,
    }
    for name, tune in _tunes.items()
    for prefix, more in (("plain", _plain), ("domino", {}))
}
