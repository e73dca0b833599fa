"""All but the model: Cityscapes to ACDC, 40,000 iterations, domain-aware; for any backbone.

--cfg-options domino.backbone.tune=frozen                                 only g and h, and the head
--cfg-options domino.backbone.tune=lora                                   and low-rank adapters;
                                                                          rein, soma: others
--cfg-options domino.backbone.injection=none domino.encode=none           without Domino
"""

_base_ = ["./domino_cityscapes_512x512.py", "mmseg::_base_/schedules/schedule_40k.py"]
domino = dict(
    store="data/domains/cityscapes_acdc.safetensors",
    encoder=dict(model="ViT-L-14", pretrained="openai", bank="acdc"),
    source="soft",
    space=("joint", "context"),  # for norms; for the cross-attention of VPD
    backbone=dict(injection="subtract", tune="full"),
)

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        # what is pretrained at a tenth of the rate, what starts untrained inside it at the full one
        lr_mult={"backbone": 0.1},
        new=r"\.domain\.|\.lora_|\.reins\.",
        norm_decay_mult=0.0,
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=1500, end=40000, by_epoch=False),
]
