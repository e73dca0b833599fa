"""Checkpoints of published Rein, SoMA and VLTSeg models, brought into the names of this package.

Rein and SoMA keep the layers of DINOv2's own code. Rein's are ``backbone.*`` with the tokens in
``backbone.reins.*``; SoMA's are ``backbone.model.*`` with query, key and value apart, and beside
each adapted layer ``lora_A.weight`` and ``lora_B.weight``. Files with 'adapter and head' hold only
what is trained, among them all biases of SoMA's backbone. VLTSeg's are of its reimplementation on
MMPretrain's EVA-02: ``backbone.layers.*`` with query, key and value in one, and both inputs of the
gated MLP in one.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_VIT = "backbone.vit."
_SPLIT = re.compile(r"(.*\.attn)\.([qkv])\.((?:lora_[AB]\.)?(?:weight|bias))$")
#: Of DINOv2's pretraining, or after the last block whose output is taken.
_UNREAD = ("mask_token", "norm.weight", "norm.bias")


def published_kind(state: Mapping[str, Tensor]) -> str | None:
    """``"rein"``, ``"soma"``, ``"vltseg"``, or ``None`` if the names are those of none."""
    if any(key.startswith("backbone.model.") for key in state):
        return "soma"
    if any(key.startswith("backbone.reins.") for key in state):
        return "rein"
    if any(key.startswith("backbone.layers.") and ".mlp.w12." in key for key in state):
        return "vltseg"
    return None


def convert_published(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the tensors of a published segmentor for ``DominoBackbone`` over ``TimmViT``.

    A bias of EVA-02's keys, which its own code has none of, is left out where it is zero.

    Args:
        state: Tensors under the original names, with or without ``module.`` before all of them; or
            those of DINOv2's published backbone alone.

    Returns:
        The tensors under this package's names, query, key and value in one; and the keys that
        nothing here reads.

    Raises:
        ValueError: If one of query, key and value is missing.
    """
    state = {re.sub(r"^module\.", "", key): value for key, value in state.items()}
    if published_kind(state) == "vltseg":
        return _convert_eva02(state)
    prefix = {"soma": "backbone.model.", "rein": "backbone."}.get(published_kind(state), "")
    converted: dict[str, Tensor] = {}
    unused: list[str] = []
    fused: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if key.startswith(("decode_head.", "backbone.reins.")):
            converted[key] = value
        elif not key.startswith(prefix) or name in _UNREAD:
            unused.append(key)
        elif split := _SPLIT.match(name):
            layer, part, kind = split.groups()
            fused.setdefault(f"{_VIT}{layer}.qkv.{kind}", {})[part] = value
        else:
            converted[_VIT + name] = value
    for key, parts in fused.items():
        if set(parts) != set("qkv"):
            raise ValueError(
                f"of query, key and value, the checkpoint has only {', '.join(sorted(parts))} for "
                f"{key.removeprefix(_VIT)}; it is cut off, or not in SoMA's layout"
            )
        converted[key] = torch.cat([parts[part] for part in "qkv"])
    return converted, unused


#: MMPretrain's names of EVA-02's parts, and timm's.
_EVA02 = (
    ("patch_embed.projection.", "patch_embed.proj."),
    ("layers.", "blocks."),
    (".attn.inner_attn_norm.", ".attn.norm."),
    (".mlp.w3.", ".mlp.fc2."),
)
_EVA02_FUSED = {".attn.qkv.": ("q_proj", "k_proj", "v_proj"), ".mlp.w12.": ("fc1_g", "fc1_x")}


def _convert_eva02(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    converted: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, value in state.items():
        name = key.removeprefix("backbone.")
        if key.startswith("decode_head."):
            converted[key] = value
            continue
        if name == key or ".rope." in name or name.startswith(("rope.", "ln1.", "ln2.")):
            unused.append(key)  # computed, or after the last block whose output is taken
            continue
        for original, ours in _EVA02:
            name = name.replace(original, ours)
        fused = next((one for one in _EVA02_FUSED if one in name), None)
        if fused is None:
            converted[_VIT + name] = value
            continue
        layer, _, kind = name.rpartition(fused)
        group = fused.split(".")[1]
        for part, piece in zip(
            _EVA02_FUSED[fused], value.chunk(len(_EVA02_FUSED[fused])), strict=True
        ):
            if part != "k_proj" or kind != "bias" or piece.any():
                converted[f"{_VIT}{layer}.{group}.{part}.{kind}"] = piece
    return converted, unused
