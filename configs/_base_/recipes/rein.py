"""Rein (CVPR 2024): 100 tokens of rank 16 after each block of a frozen backbone; linked queries.

The tokens and their layers train at the full rate; the backbone's factor is 1.
"""

_base_ = "./common.py"
domino = dict(
    backbone=dict(
        tune="rein",
        adapter=dict(token_length=100, rank=16, link_token_to_query=True, query_dims=256),
        save_frozen=False,
    )
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        # its queries are linked: there are no embeddings of them
        decay_mult={
            "_delete_": True,
            "decode_head.level_embed": 0.0,
            "backbone.reins.learnable_tokens_a": 0.0,
            "backbone.reins.learnable_tokens_b": 0.0,
            "backbone.reins.scale": 0.0,
        }
    )
)
