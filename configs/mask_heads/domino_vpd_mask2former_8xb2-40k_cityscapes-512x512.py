"""Stable Diffusion's UNet (VPD) under Mask2Former's head instead of UPerNet."""

_base_ = [
    "../backbones/domino_vpd_8xb2-40k_cityscapes-512x512.py",
    "../_base_/models/mask2former_head.py",
]
# The backbone says what the head's in_channels are.
model = dict(decode_head=dict(_delete_=True, **_base_.mask2former_head))
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))  # as Mask2Former trains
