"""The original layout of latent diffusion checkpoints and of TAESD, brought into diffusers'.

The renaming is diffusers' own; here is what it leaves to its caller: which keys there are, which
were used, and whether the model is one that VPD can read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."
OPEN_CLIP_PREFIX = "cond_stage_model.model."
_SDXL = "conditioner.embedders."
#: Beside UNet and autoencoder, original files hold the text tower, averaged weights and the
#: numbers of the diffusion's schedule. VPD reads none of them (class names: the text tower).
_OTHERS = re.compile(
    r"cond_stage_model\.|model_ema\.|embedding_manager\.|denoiser\.|betas$|alphas_|sqrt_|posterior_|"
    r"log_one_minus|lvlb_weights$|logvar$|scale_factor$|global_step$"
)


def _unused(state: Mapping[str, Tensor], converted: Mapping[str, Tensor]) -> list[str]:
    """Keys whose tensors are in no converted one, also not as a view."""
    used = {value.untyped_storage().data_ptr() for value in converted.values()}
    return sorted(k for k, v in state.items() if v.untyped_storage().data_ptr() not in used)


def _own_storage(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, each with a storage of its own, by which it can be told."""
    part = {k: v for k, v in state.items() if k.startswith(prefix)}
    storages = [v.untyped_storage().data_ptr() for v in part.values()]
    if len(set(storages)) == len(storages):
        return part
    return {k: v.clone() for k, v in part.items()}


def convert_unet(
    state: Mapping[str, Tensor], config: Mapping | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """A UNet's weights under diffusers' names, and the keys of it that were not used."""
    part = _own_storage(state, UNET_PREFIX)
    if config is None:  # its layers a level are counted from the input blocks' names
        blocks = {k.split("input_blocks.")[1].split(".")[0] for k in part if "input_blocks." in k}
        config = {"layers_per_block": (len(blocks) - 4) // 4}
    config = {"class_embed_type": None, "addition_embed_type": None, **config}
    converted = convert_ldm_unet_checkpoint(part, config)
    return converted, _unused(part, converted)


def convert_vae(
    state: Mapping[str, Tensor], levels: int = 4
) -> tuple[dict[str, Tensor], list[str]]:
    """An autoencoder under diffusers' names, and the keys of it that were not used."""
    part = _own_storage(state, VAE_PREFIX)
    blocks = [None] * levels  # only their number is read
    config = {"down_block_types": blocks, "up_block_types": blocks}
    converted = convert_ldm_vae_checkpoint(part, config)
    return converted, _unused(part, converted)


def convert_open_clip_text(state: Mapping[str, Tensor], tower: nn.Module) -> dict[str, Tensor]:
    """open_clip's text tower of a Stable Diffusion 2.x checkpoint under transformers' names."""
    blocks = re.compile(re.escape(OPEN_CLIP_PREFIX) + r"transformer\.resblocks\.(\d+)\.")

    def wanted(key: str) -> bool:
        block = blocks.match(key)
        return block is None or int(block[1]) < tower.config.num_hidden_layers

    part = {key: value for key, value in state.items() if wanted(key)}
    return convert_open_clip_checkpoint(tower, part, prefix=OPEN_CLIP_PREFIX)


def convert_taesd(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """TAESD's original layers, numbered from 0, under the names of ``AutoencoderTiny``."""
    # The original decoder's layer 0 clamps and has no weights; diffusers' does it outside.
    shift = {"encoder": 0, "decoder": 1}[part]
    converted = {}
    for key, value in state.items():
        number, rest = key.split(".", 1)
        converted[f"{part}.layers.{int(number) - shift}.{rest}"] = value
    return converted


def original_problem(names: Sequence[str], shapes: Mapping[str, torch.Size]) -> str | None:
    """Why a file in the original layout cannot serve VPD, in words; None if it can."""
    if any(k.startswith((_SDXL, f"{UNET_PREFIX}label_emb.")) for k in names):
        return "it is SDXL or has other added conditions (label_emb or conditioner.embedders)"
    first = shapes.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if first is None:
        return (
            f"it has no UNet: expected keys that begin with {UNET_PREFIX}, found such as "
            f"{sorted(names)[:4]}"
        )
    if first[1] != 4:
        return f"its UNet takes {first[1]} input channels, expected 4 (9: an inpainting model)"
    return None


def unknown_keys(names: Iterable[str]) -> list[str]:
    """Names that belong to no part of an original Stable Diffusion 1.x or 2.x file."""
    known = (UNET_PREFIX, VAE_PREFIX)
    return sorted(n for n in names if not n.startswith(known) and not _OTHERS.match(n))
