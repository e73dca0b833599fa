"""Tiny latent diffusion models in every form in which weights are found."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from mmseg_domino.models.backbones import DominoVPD

UNET = dict(
    in_channels=4,
    out_channels=4,
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    block_out_channels=(8, 8, 16, 16),
    layers_per_block=2,
    cross_attention_dim=12,
    attention_head_dim=2,
    norm_num_groups=4,
)
VAE = dict(
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(4, 4, 8, 8),
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
)
ARCHITECTURE = dict(unet=UNET, vae=VAE)
REFERENCE = "ldm_small_square"


#: Where DominoVPD takes an option, for tests that look at one of many.
_NESTED = {
    "classes": ("count", "embeddings", "text_encoder", "cache", "names"),
    "attention": ("gate", "scale", "maps", "classwise"),
    "vae": ("vae_weights", "vae_batch", "vae_dtype", "vae_latent", "vae_scale"),
    "execution": ("checkpointing", "channels_last", "compile"),
}


def make_vpd(weights="random", architecture=None, **options) -> DominoVPD:
    """A DominoVPD whose nested options are named flat; those of the VAE begin with ``vae_``."""
    if architecture is not None or weights == "random":
        weights = dict(name=weights, architecture=architecture or ARCHITECTURE)
    for name, inner in _NESTED.items():
        found = {key.removeprefix(f"{name}_"): options.pop(key) for key in inner if key in options}
        if found:
            options[name] = {**options.get(name, {}), **found}
    return DominoVPD(weights, **options)


def write_folder(root: Path, unet: dict | None = None, vae: dict | None = None) -> Path:
    """A diffusers folder with random weights, without a text tower."""
    torch.manual_seed(0)
    UNet2DConditionModel(**{**UNET, **(unet or {})}).save_pretrained(root / "unet")
    AutoencoderKL(**{**VAE, **(vae or {})}).save_pretrained(root / "vae")
    return root


def write_tiny_vae(root: Path) -> Path:
    """A diffusers folder of a small AutoencoderTiny."""
    AutoencoderTiny(
        encoder_block_out_channels=(4, 4, 4, 4), decoder_block_out_channels=(4, 4, 4, 4)
    ).save_pretrained(root)
    return root


def write_classes(path: Path, embeddings: Tensor) -> str:
    save_file({"class_embeddings": embeddings}, path)
    return str(path)


def reference_description(shared: Path) -> dict:
    return json.loads((shared / "reference" / f"{REFERENCE}.json").read_text())


def relative_difference(ours: Tensor, reference: Tensor) -> float:
    """Largest difference over the reference's largest magnitude."""
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float((ours - reference).abs().max() / reference.abs().max())


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a value that is not its start, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name != "gate":
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
