"""Mask2Former with Domino on the procedural street world: the embedded default under a mask head.

    pip install .[detection]          # mmdet, whose head it is; no compiler
    domino data mini                  # once; nothing is downloaded
    domino train configs/examples/domino_mask2former_mini.py
    domino test configs/examples/domino_mask2former_mini.py \
        work_dirs/domino_mask2former_mini/iter_300.pth
"""

_base_ = ["../domino_vpd_mini.py", "../_base_/models/mask2former_head.py"]

# A quarter of the width, and fewer layers and queries.
width = 64
attention = dict(embed_dims=width, num_heads=4)
model = dict(
    decode_head=dict(
        _delete_=True,
        **_base_.mask2former_head,
        in_channels=[width] * 4,
    )
)
model["decode_head"].update(
    feat_channels=width,
    out_channels=width,
    num_queries=40,
    pixel_decoder=dict(
        type="mmdet.MSDeformAttnPixelDecoder",
        num_outs=3,
        norm_cfg=dict(type="GN", num_groups=32),
        act_cfg=dict(type="ReLU"),
        encoder=dict(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=dict(attention, num_levels=3, num_points=4, batch_first=True),
                ffn_cfg=dict(embed_dims=width, feedforward_channels=2 * width),
            ),
        ),
        positional_encoding=dict(num_feats=width // 2, normalize=True),
    ),
    positional_encoding=dict(num_feats=width // 2, normalize=True),
    transformer_decoder=dict(
        return_intermediate=True,
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=dict(attention, batch_first=True),
            cross_attn_cfg=dict(attention, batch_first=True),
            ffn_cfg=dict(embed_dims=width, feedforward_channels=2 * width),
        ),
    ),
)
model["decode_head"]["train_cfg"].update(num_points=1024)
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=0.1, norm_type=2))

# The head takes more of a step than the backbone.
iterations = 300
train_cfg = dict(max_iters=iterations)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=20, end=iterations, by_epoch=False),
]
