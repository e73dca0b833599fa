"""What a latent diffusion model of Stable Diffusion's first two generations is built like.

An architecture is ``{"unet": {...}, "vae": {...}}`` with the arguments of diffusers'
``UNet2DConditionModel`` and ``AutoencoderKL``. It may also be written as in the original
configuration files (``model_channels``, ``channel_mult``, ...; ``ch``, ``ch_mult``, ...).
"""

from collections.abc import Mapping

from diffusers.loaders.single_file_utils import (
    create_unet_diffusers_config_from_ldm,
    create_vae_diffusers_config_from_ldm,
)

_UNET = dict(
    sample_size=64,
    in_channels=4,
    out_channels=4,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    block_out_channels=(320, 640, 1280, 1280),
    layers_per_block=2,
)
_VAE = dict(
    sample_size=512,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    latent_channels=4,
    scaling_factor=0.18215,
)
#: Named architectures. diffusers calls the number of heads ``attention_head_dim``.
ARCHITECTURES = {
    "sd15": dict(unet=dict(_UNET, cross_attention_dim=768, attention_head_dim=8), vae=_VAE),
    "sd21": dict(
        unet=dict(
            _UNET,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        ),
        vae=_VAE,
    ),
}


def resolve_architecture(architecture: str | Mapping | None) -> dict[str, dict]:
    """The arguments of diffusers' classes for a named, diffusers' or original architecture."""
    valid = f"one of {', '.join(ARCHITECTURES)}, or a dict with `unet` and `vae`"
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; give {valid}")
        architecture = ARCHITECTURES[architecture]
    if architecture is None or not {"unet", "vae"} <= set(architecture):
        raise ValueError(f"these weights need `architecture`: {valid}; got {architecture!r}")
    unet, vae = dict(architecture["unet"]), dict(architecture["vae"])
    if "model_channels" not in unet and "ch" not in vae:
        return dict(unet=unet, vae=vae)
    if "model_channels" not in unet or "ch" not in vae:
        raise ValueError(
            "one part of the architecture is written in the original form and the other in "
            f"diffusers'; write both in one: {architecture}"
        )
    stages = dict(unet_config=dict(params=unet), first_stage_config=dict(params=dict(ddconfig=vae)))
    original = dict(model=dict(params=stages))
    # diffusers looks into the checkpoint for other families than this one: nothing to see here.
    return dict(
        unet=create_unet_diffusers_config_from_ldm(original, {}),
        vae=create_vae_diffusers_config_from_ldm(original, {}),
    )


def architecture_of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The named architecture of a checkpoint in the original layout, judged by its shapes.

    None for other sizes, as the number of heads cannot be read off the weights.
    """
    first = shapes.get("input_blocks.0.0.weight")
    context = shapes.get("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    if first is None or context is None or first[0] != 320:
        return None
    return {768: "sd15", 1024: "sd21"}.get(context[1])


def check_unet_config(config: Mapping, where: str) -> None:
    """Refuse a UNet that VPD cannot read."""
    problems = []
    levels = len(config.get("block_out_channels", ()))
    if levels != 4:
        problems.append(f"it has {levels} resolution levels, expected 4 (is it SDXL?)")
    if config.get("addition_embed_type") is not None:
        problems.append(
            f"it wants added conditions ({config['addition_embed_type']}), expected none "
            "(is it SDXL?)"
        )
    if config.get("in_channels", 4) != 4:
        problems.append(
            f"it takes {config['in_channels']} input channels, expected 4 (9: an inpainting model)"
        )
    if config.get("class_embed_type") is not None:
        problems.append(
            f"it wants an image embedding ({config['class_embed_type']}), expected none (unCLIP?)"
        )
    if problems:
        raise ValueError(
            f"the UNet of {where} does not fit: {'; '.join(problems)}. Use a Stable Diffusion 1.x "
            "or 2.x text-to-image model."
        )
