"""Comparing DominoVPD with stored activations of the original VPD code.

A set of files has one stem: ``STEM.json`` (layer configuration as in the original's files, class
count, image size, timestep, latent scale, attention maps), ``STEM.weights.safetensors`` (original
key names) and ``STEM.activations.safetensors`` (images, class embeddings, text adapter, and what
the original computed).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .backbones.vpd import DominoVPD
from .diffusion.files import read_state_dict

_FIELDS = ("unet", "vae", "num_classes", "image_hw", "attention_maps")
_ADAPTER = ("gamma", "class_embeddings")
_FC = "text_adapter.fc."
_STORED = ("images", "latents", "context", *_ADAPTER, *(f"features.{i}" for i in range(4)))


def relative_difference(ours: Tensor, stored: Tensor) -> float:
    """Largest difference over the stored tensor's largest magnitude; infinite if shapes differ."""
    if ours.shape != stored.shape:
        return float("inf")
    return ((ours - stored).abs().max() / stored.abs().max()).item()


def _map_strides(description: Mapping) -> tuple[int, ...]:
    """Strides of the levels whose maps the original appends: up to a number of positions."""
    if not description["attention_maps"]:
        return ()
    limit = description.get("max_attn_size", 32) ** 2
    height, width = description["image_hw"]
    return tuple(s for s in (8, 16, 32) if -(-height // s) * -(-width // s) <= limit)


def _file(stem: str | Path, ending: str) -> Path:
    path = Path(f"{stem}{ending}")
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; a set has STEM.json, STEM.weights.safetensors and "
            f"STEM.activations.safetensors, and the stem given is {stem}"
        )
    return path


def _read(stem: str | Path) -> tuple[dict, Path, Path, dict[str, Tensor]]:
    paths = [_file(stem, e) for e in (".json", ".weights.safetensors", ".activations.safetensors")]
    description = json.loads(paths[0].read_text(encoding="utf-8"))
    absent = [field for field in _FIELDS if field not in description]
    if absent:
        raise ValueError(f"{paths[0]} lacks {', '.join(absent)}")
    stored = read_state_dict(paths[2])
    absent = [name for name in _STORED if name not in stored]
    if absent:
        raise ValueError(f"{paths[2]} lacks {', '.join(absent)}")
    return description, paths[1], paths[2], stored


@torch.no_grad()
def verify_vpd(stem: str | Path) -> dict[str, float]:
    """Build DominoVPD from a set of files and compare it with what is stored.

    Args:
        stem: Path of the files without their endings.

    Returns:
        :func:`relative_difference` of ``latents``, ``context`` and each ``features.LEVEL``, finest
        first.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one lacks something, or the weights do not fit the configuration.
    """
    description, weights, activations, stored = _read(stem)
    backbone = DominoVPD(
        dict(
            name=str(weights),
            architecture={"unet": description["unet"], "vae": description["vae"]},
        ),
        classes=dict(embeddings=str(activations), count=description["num_classes"]),
        injection="none",
        attention=dict(maps=_map_strides(description)),
        timestep=description.get("timestep", 1),
        vae=dict(scale=description.get("latent_scale", 1.0)),
    ).eval()
    backbone.read_weights()
    adapter = {
        key.replace(_FC, "text_adapter."): value
        for key, value in stored.items()
        if key.startswith(_FC) or key in _ADAPTER
    }
    backbone.context.load_state_dict(adapter)
    images = stored["images"]
    context = backbone.context().expand(len(images), -1, -1)
    features = backbone(images)
    # The original's context has a row an image; where it is stored once, one is compared.
    if len(stored["context"]) == 1 or stored["context"].ndim == 2:
        context = context[:1].reshape(stored["context"].shape)
    differences = {
        "latents": relative_difference(backbone.encode(images), stored["latents"]),
        "context": relative_difference(context, stored["context"]),
    }
    for level, feature in enumerate(features):
        differences[f"features.{level}"] = relative_difference(feature, stored[f"features.{level}"])
    return differences
