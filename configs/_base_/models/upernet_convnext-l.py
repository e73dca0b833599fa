"""ConvNeXt-L, pretrained on ImageNet-21k."""

_base_ = "./upernet.py"
custom_imports = dict(imports=["mmpretrain.models"], allow_failed_imports=False)
model = dict(
    backbone=dict(
        type="mmpretrain.ConvNeXt",
        arch="large",
        out_indices=[0, 1, 2, 3],
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmclassification/v0/convnext/downstream/"
            "convnext-large_3rdparty_in21k_20220301-e6e0ea0a.pth",
            prefix="backbone.",
        ),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
)
