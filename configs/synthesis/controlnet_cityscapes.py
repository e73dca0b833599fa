"""Cityscapes' labels to other weather: Stable Diffusion 1.5 with a segmentation ControlNet.

    domino synthesise configs/synthesis/controlnet_cityscapes.py \
        --domains fog,night,rain,snow --out data/synthetic/cityscapes

Fetch the weights once (5 GB): see docs/synthesis.md.
"""

_base_ = "mmseg::_base_/datasets/cityscapes.py"

synthesis = dict(
    generator=dict(
        type="ControlNetGenerator",
        model="stable-diffusion-v1-5/stable-diffusion-v1-5",
        controlnet="lllyasviel/control_v11p_sd15_seg",
        mode="text",  # from noise; 'image' starts from the real photo
        size=(512, 1024),  # Cityscapes' shape at a quarter of its pixels; scaled up afterwards
        steps=25,  # UniPC is converged by then
        guidance_scale=7.5,
        control_scale=1.0,
        precision="bf16",  # fp16 overflows in this VAE now and then
    ),
    prompts=dict(bank="acdc"),
    # Parts of the gate are off until they are given a threshold; docs/synthesis.md says how to
    # choose one. min_agreement also needs segmentor=dict(config=..., checkpoint=...).
    gate=dict(
        encoder=dict(model="ViT-L-14", pretrained="openai"),
        min_domain_score=0.2,  # chance, among the five domains of the bank
        max_duplicate_distance=4,  # of 64 bits
    ),
)
