"""SegFormer's MiT-B5, pretrained on ImageNet-1k."""

_base_ = "./upernet.py"
model = dict(
    backbone=dict(
        type="MixVisionTransformer",
        embed_dims=64,
        num_stages=4,
        num_layers=[3, 6, 40, 3],
        num_heads=[1, 2, 5, 8],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/"
            "mit_b5_20220624-658746d9.pth",
        ),
    ),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
