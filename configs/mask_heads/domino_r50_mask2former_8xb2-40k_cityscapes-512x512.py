"""ResNet-50 under Mask2Former's head instead of UPerNet."""

_base_ = [
    "../backbones/domino_r50_8xb2-40k_cityscapes-512x512.py",
    "../_base_/models/mask2former_head.py",
]
model = dict(
    decode_head=dict(
        _delete_=True,
        **_base_.mask2former_head,
        in_channels=_base_.model.decode_head.in_channels,
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))  # as Mask2Former trains
