"""diffusers' names put back into those of the original latent diffusion code, for tests.

Written from the original modules' order of layers, so that it is no mirror of the loader.
"""

import re
from collections.abc import Mapping

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip


def _resnet(rest: str) -> str:
    name, kind = rest.rsplit(".", 1)
    return f"{_RESNET[name]}.{kind}"


def _unet_name(name: str) -> str:
    for ours, original in _TOP.items():
        if name.startswith(f"{ours}."):
            return original + name[len(ours) :]
    side, rest = name.split(".", 1)
    if side == "mid_block":
        kind, index, rest = rest.split(".", 2)
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(index)}.{_resnet(rest)}"
    block, kind, index, rest = rest.split(".", 3)
    block, index = int(block), int(index)
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op.{rest.removeprefix('conv.')}"
        number = f"input_blocks.{1 + 3 * block + index}"
    elif kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.{rest}"
    else:
        number = f"output_blocks.{3 * block + index}"
    return f"{number}.0.{_resnet(rest)}" if kind == "resnets" else f"{number}.1.{rest}"


def _vae_name(name: str) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        head, rest = name.split("mid_block.attentions.0.")
        part, kind = rest.rsplit(".", 1)
        return f"{head}mid.attn_1.{_VAE_ATTENTION[part]}.{kind}"
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{3 - int(m[1])}.block", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)


def original_unet(unet: UNet2DConditionModel, prefix: str) -> dict[str, Tensor]:
    """A UNet's tensors under original names; two layers a level."""
    return {prefix + _unet_name(k): v.clone() for k, v in unet.state_dict().items()}


def original_vae(vae: AutoencoderKL, prefix: str) -> dict[str, Tensor]:
    """An autoencoder's tensors under original names, its attention as 1 x 1 convolutions."""
    state = {}
    for key, value in vae.state_dict().items():
        name = _vae_name(key)
        if ".attn_1." in name and value.ndim == 2:
            value = value[..., None, None]
        state[prefix + name] = value.clone()
    return state


def original_file(unet: UNet2DConditionModel, vae: AutoencoderKL) -> dict[str, Tensor]:
    """All tensors of a single file in the original layout."""
    return {
        **original_unet(unet, "model.diffusion_model."),
        **original_vae(vae, "first_stage_model."),
    }


def published_vpd(
    unet: UNet2DConditionModel, vae: AutoencoderKL, others: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors as a segmentor of the published VPD saves them; it deletes output and decoder."""
    unet_state = original_unet(unet, "unet.unet.diffusion_model.")
    vae_state = original_vae(vae, "encoder_vq.")
    return {
        **{k: v for k, v in unet_state.items() if ".out." not in k.replace("out_layers", "")},
        **{k: v for k, v in vae_state.items() if ".decoder." not in k},
        **others,
    }
