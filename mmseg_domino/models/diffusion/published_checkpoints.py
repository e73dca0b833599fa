"""Checkpoints of the published VPD segmentation code, brought into the names of this package."""

from collections.abc import Mapping

from torch import Tensor

from .original_layout import UNET_PREFIX, VAE_PREFIX, convert_unet, convert_vae

_UNET = "unet.unet.diffusion_model."
_VAE = "encoder_vq."
_ADAPTER = "text_adapter.fc."
_CONTEXT = ("gamma", "class_embeddings")
_HEADS = ("decode_head.", "auxiliary_head.")
_NECK = "neck."
#: Parts that are never run here, under diffusers' names.
_TAIL = ("conv_norm_out.", "conv_out.", "decoder.", "post_quant_conv.")


def _renamed(
    state: Mapping[str, Tensor], prefix: str, original: str, convert, target: str
) -> tuple[dict[str, Tensor], list[str]]:
    """One part through diffusers' renaming: the weights, and the keys that were not used."""
    part = {original + k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    converted, unused = convert(part)
    tail = {k for k in converted if k.startswith(_TAIL)}
    storages = {converted[k].untyped_storage().data_ptr() for k in tail}
    unused += [k for k, v in part.items() if v.untyped_storage().data_ptr() in storages]
    weights = {target + k: v.contiguous() for k, v in converted.items() if k not in tail}
    return weights, [prefix + k.removeprefix(original) for k in unused]


def convert_published_vpd(
    state: Mapping[str, Tensor], domino_neck: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the tensors of a published VPD segmentor for ``DominoEncoderDecoder``.

    Args:
        state: Tensors under the original names: ``unet.unet.diffusion_model.*``,
            ``encoder_vq.*``, ``text_adapter.*``, ``gamma``, ``neck.*``, ``decode_head.*``.
        domino_neck: The new model's neck is a ``DominoNorm`` around the original's neck, which is
            ``neck.neck`` there.

    Returns:
        The tensors under the new names, of unchanged values and types, and the sorted original
        names of those that have no place: what is never run, and what is not known.

    Raises:
        ValueError: If it is no such checkpoint.
    """
    if state and all(k.startswith("module.") for k in state):  # saved by a distributed wrapper
        state = {k.removeprefix("module."): v for k, v in state.items()}
    # Own memory each, by which the renaming tells what it used.
    state = {k: v.clone() for k, v in state.items()}
    for prefix in (_UNET, _VAE):
        if not any(k.startswith(prefix) for k in state):
            raise ValueError(
                f"this is no checkpoint of a published VPD segmentor: it has no {prefix}*; its "
                f"keys are such as {sorted(state)[:4]}"
            )
    unet, unused = _renamed(state, _UNET, UNET_PREFIX, convert_unet, "backbone.unet.")
    vae, more = _renamed(state, _VAE, VAE_PREFIX, convert_vae, "backbone.vae.")
    converted, unused = {**unet, **vae}, unused + more
    for key, value in state.items():
        if key.startswith((_UNET, _VAE)):
            continue
        if key.startswith(_ADAPTER):
            converted[f"backbone.context.text_adapter.{key.removeprefix(_ADAPTER)}"] = value
        elif key in _CONTEXT:
            converted[f"backbone.context.{key}"] = value
        elif key.startswith(_NECK):
            converted[f"neck.{key}" if domino_neck else key] = value
        elif key.startswith(_HEADS):
            converted[key] = value
        else:
            unused.append(key)
    return converted, sorted(unused)
