"""Mask2Former's head (arXiv 2112.01527) as MMSegmentation sets it up for Cityscapes.

For backbones or necks with four levels; a child adds their `in_channels`. The head is mmdet's:
`pip install .[detection]`; no compiler is needed.
"""

_feed_forward = dict(
    embed_dims=256, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type="ReLU", inplace=True)
)
_attention = dict(embed_dims=256, num_heads=8, attn_drop=0.0, proj_drop=0.0, batch_first=True)
mask2former_head = dict(
    type="Mask2FormerHead",
    strides=[4, 8, 16, 32],  # their ratios count
    feat_channels=256,
    out_channels=256,
    num_classes=19,
    num_queries=100,
    num_transformer_feat_level=3,
    align_corners=False,
    pixel_decoder=dict(
        type="mmdet.MSDeformAttnPixelDecoder",
        num_outs=3,
        norm_cfg=dict(type="GN", num_groups=32),
        act_cfg=dict(type="ReLU"),
        encoder=dict(
            num_layers=6,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=256,
                    num_heads=8,
                    num_levels=3,
                    num_points=4,
                    dropout=0.0,
                    batch_first=True,
                ),
                ffn_cfg=dict(_feed_forward, feedforward_channels=1024),
            ),
        ),
        positional_encoding=dict(num_feats=128, normalize=True),
    ),
    enforce_decoder_input_project=False,
    positional_encoding=dict(num_feats=128, normalize=True),
    transformer_decoder=dict(
        return_intermediate=True,
        num_layers=9,
        layer_cfg=dict(
            self_attn_cfg=_attention,
            cross_attn_cfg=_attention,
            ffn_cfg=dict(_feed_forward, feedforward_channels=2048, add_identity=True),
        ),
    ),
    loss_cls=dict(
        type="mmdet.CrossEntropyLoss",
        loss_weight=2.0,
        class_weight=[1.0] * 19 + [0.1],  # the last: queries without a mask
    ),
    loss_mask=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True, loss_weight=5.0),
    loss_dice=dict(type="mmdet.DiceLoss", naive_dice=True, eps=1.0, loss_weight=5.0),
    train_cfg=dict(
        num_points=12544,  # 112 x 112
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
        assigner=dict(
            type="mmdet.HungarianAssigner",
            match_costs=[
                dict(type="mmdet.ClassificationCost", weight=2.0),
                dict(type="mmdet.CrossEntropyLossCost", weight=5.0, use_sigmoid=True),
                dict(type="mmdet.DiceCost", weight=5.0, pred_act=True, eps=1.0),
            ],
        ),
        sampler=dict(type="mmdet.MaskPseudoSampler"),
    ),
)
