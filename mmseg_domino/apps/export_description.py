"""What a program must know to use a trained model, read off its config and itself."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.config import Config
from torch import nn

from ..models.layers.domain_inputs import SCORES
from ..utils.configs import type_name
from ..version import __version__
from .inference import domain_vectors

_NO_ENCODER = "no domain can be forced on this model: its config names no domain encoder"
#: Steps of a test that need nothing of a program that has the image and its domain.
_NOTHING = ("LoadImageFromNDArray", "EncodeDomain", "PackDominoInputs", "PackSegInputs")
_PACKAGES = (
    "torch", "onnx", "onnxscript", "onnxruntime", "mmengine", "mmsegmentation", "onedl-mmengine",
    "onedl-mmsegmentation", "diffusers", "timm", "open_clip_torch",
)  # fmt: skip


def describe_preprocessing(cfg: Config, model: nn.Module) -> dict:
    """From an RGB image to the network's input.

    Raises:
        ValueError: If the config's test does something that cannot be said here.
    """
    steps = [step for step in cfg.test_pipeline if type_name(step) not in _NOTHING]
    other = [type_name(step) for step in steps if type_name(step) != "Resize"]
    if other:
        raise ValueError(
            f"the config's test does {', '.join(other)} to an image, which an exported model "
            "cannot do: resizing and padding are all that it knows. Leave it out of the pipeline "
            "of the first test data set."
        )
    data, own = (
        model.data_preprocessor,
        getattr(model.data_preprocessor, "_enable_normalize", False),
    )
    mean, std = (getattr(data, name).flatten().tolist() if own else [n] * 3
                 for name, n in (("mean", 0.0), ("std", 1.0)))  # fmt: skip
    pad = data.test_cfg and {
        "size": data.test_cfg.get("size"),
        "divisor": data.test_cfg.get("size_divisor"),
        "value": data.pad_val,
    }
    return {
        "resize": [_resize(step) for step in steps],
        "interpolation": "bilinear",
        # Loaders give BGR.
        "channel_order": "rgb" if data._channel_conversion else "bgr",
        "mean": mean,
        "std": std,
        "pad": pad or None,
    }


def _resize(step: Mapping) -> dict:
    if step.get("interpolation", "bilinear") != "bilinear":
        raise ValueError(f"only bilinear resizing can be exported, the config's test has {step}")
    factor = step.get("scale_factor")
    factor = [factor, factor] if isinstance(factor, int | float) else factor
    scale = step.get("scale")
    scale = [scale, scale] if isinstance(scale, int) else scale
    return {
        "scale": None if scale is None else list(scale),
        "factor": None if factor is None else list(factor),
        "keep_ratio": bool(step.get("keep_ratio", False)),
    }


def describe_inference(model: nn.Module) -> dict:
    """How the network sees an image: whole or by windows.

    Raises:
        ValueError: For a mode that cannot be exported.
    """
    test, head = model.test_cfg or {}, model.decode_head
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    if test.get("latent", "window") != "window":
        raise ValueError(
            "test_cfg.latent='image' encodes whole images and cannot be exported for windows; give "
            "--cfg-options model.test_cfg.latent=window"
        )
    if getattr(getattr(model.backbone, "vae", None), "mode", "mode") == "sample":
        raise ValueError(
            "the model draws its latents at random (vae.latent='sample'), which no two runs of a "
            "graph do alike; give --cfg-options model.backbone.vae.latent=mode"
        )
    slides = test.get("mode", "whole") == "slide"
    return {
        "window": list(test["crop_size"]) if slides else None,
        "stride": list(test["stride"]) if slides else None,
        "windows_per_batch": test.get("windows_per_batch", 1),
        "align_corners": bool(model.align_corners),
        "threshold": getattr(head, "threshold", None),
    }


def describe_domain(model: nn.Module) -> dict:
    """The domains, their texts, and what stands for each where it is forced.

    Without a domain encoder the model knows of no domains by name.
    """
    data = model.data_preprocessor
    encoder = getattr(data, "encoder", None)
    if encoder is None:
        return {"names": [], "vectors": None, "not_forced": _NO_ENCODER}
    try:
        vectors, reason = domain_vectors(model), None
    except ValueError as error:
        vectors, reason = None, str(error)
    if vectors is not None:
        if data.domain_table is not None:
            vectors = {s: data.domain_table(v.to(data.device)).cpu() for s, v in vectors.items()}
        vectors[SCORES] = torch.eye(len(encoder.text.keys))
        vectors = {name: table.tolist() for name, table in vectors.items()}
    return {
        "names": list(encoder.text.keys),
        "vectors": vectors,
        "not_forced": reason,
        "sources": [
            {"source": s.name, "space": s.space, "temperature": s.temperature, "assign": s.assign}
            for s in data.sources
        ],
        "encoder": encoder.provenance(),
    }


def versions() -> dict[str, str]:
    """Of the software that exports."""
    found = {"mmseg_domino": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
