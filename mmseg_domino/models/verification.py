"""Comparing models with stored activations of the original code: VPD, Rein and SoMA.

A set of files has one stem: ``STEM.json`` (``kind``, and the layers' configuration as in the
original's files), ``STEM.weights.safetensors`` (original key names) and
``STEM.activations.safetensors`` (images, and what the original computed). Sets without a kind are
VPD's; theirs also hold class embeddings and the text adapter.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..utils import read_mapping
from .adapters.published import convert_published
from .adapters.soma import decompose_soma
from .backbones.domino_backbone import DominoBackbone
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


def _read(
    stem: str | Path, fields: Sequence[str], names: Sequence[str]
) -> tuple[dict, Path, Path, dict[str, Tensor]]:
    """Description, files of weights and activations, and the activations, of which some must be."""
    endings = (".json", ".weights.safetensors", ".activations.safetensors")
    file, weights, activations = (_file(stem, ending) for ending in endings)
    description = read_mapping(file)
    _refuse_absent(file, fields, description)
    stored = read_state_dict(activations)
    _refuse_absent(activations, names, stored)
    return description, weights, activations, stored


def _refuse_absent(path: Path, names: Sequence[str], found: Mapping) -> None:
    absent = [name for name in names if name not in found]
    if absent:
        raise ValueError(f"{path} lacks {', '.join(absent)}")


def verify(stem: str | Path) -> dict[str, float]:
    """Compare a set of files with what is computed here, by the kind that its JSON names.

    Args:
        stem: Path of the files without their endings.

    Returns:
        :func:`relative_difference` by name of the tensor.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one lacks something, is of an unknown kind, or does not fit.
    """
    path = _file(stem, ".json")
    description = read_mapping(path)
    kind = description.get("kind", "vpd")
    if kind == "vpd":
        return verify_vpd(stem)
    if kind in ("rein", "soma"):
        return verify_adapter(stem)
    raise ValueError(f"{path} is of the kind {kind!r}; known are vpd, rein and soma")


@torch.no_grad()
def verify_vpd(stem: str | Path) -> dict[str, float]:
    """Build DominoVPD from a set of files and compare it with what is stored."""
    description, weights, activations, stored = _read(stem, _FIELDS, _STORED)
    backbone = DominoVPD(
        dict(name=str(weights), architecture={k: description[k] for k in ("unet", "vae")}),
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


_ADAPTER_FIELDS = ("vit", "num_classes", "num_queries", "adapter", "head")


@torch.no_grad()
def verify_adapter(stem: str | Path) -> dict[str, float]:
    """Build a backbone with Rein or SoMA under Mask2Former's head, and compare every output.

    For SoMA, ``at_start/*`` are those of adapters that were made here of the pretrained weights, up
    to the sign of each component.
    """
    description, file, activations, stored = _read(stem, _ADAPTER_FIELDS, ("images",))
    weights, _ = convert_published(read_state_dict(file))
    model = _segmentor(description)
    _load(model, weights, file)
    found = _outputs(model, stored["images"])
    prefix = "at_start/"
    if any(name.startswith(prefix) for name in stored):
        pretrained = {k: v for k, v in stored.items() if k.startswith("pretrained/")}
        pretrained, _ = convert_published({k.split("/", 1)[1]: v for k, v in pretrained.items()})
        head = {k: v for k, v in weights.items() if k.startswith("decode_head.")}
        fresh = _segmentor(description)
        adapters = {k: v for k, v in fresh.state_dict().items() if ".lora_" in k}
        _load(fresh, {**adapters, **pretrained, **head}, activations)
        decompose_soma(fresh)
        started = {**_outputs(fresh, stored["images"]), **_at_start(fresh, stored)}
        found |= {prefix + name: value for name, value in started.items()}
    compared = [n for n in stored if n != "images" and not n.startswith("pretrained/")]
    _refuse_absent(activations, list(found), stored)
    differences = {}
    for name in compared:
        if name not in found:
            raise ValueError(f"{activations} holds {name}, which is nothing that is computed here")
        differences[name] = relative_difference(found[name], stored[name])
        if name.startswith("at_start/adapter/") and name.endswith("lora_A.weight"):
            second = name.replace("lora_A", "lora_B")
            products = (values[second] @ values[name] for values in (found, stored))
            product = name.replace("/adapter/", "/product/").removesuffix(".lora_A.weight")
            differences[product] = relative_difference(*products)
    return differences


def _segmentor(description: Mapping) -> nn.ModuleDict:
    """Backbone and head as a description says, with random weights, in evaluation mode."""
    vit, adapter, head = description["vit"], dict(description["adapter"]), description["head"]
    kind = adapter.pop("kind").split(",")[0]
    names = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
    backbone = DominoBackbone(
        dict(
            type="TimmViT",
            model="vit_large_patch14_dinov2",
            weights=None,
            out_indices=vit["out_indices"],
            scales=(4, 2, 1, 0.5),
            resampling="bicubic",
            options={name: vit[name] for name in names},
        ),
        domain_channels=1,
        injection="none",
        tune=kind,
        adapter=_adapter_options(kind, adapter),
    )
    linked = adapter.get("link_token_to_query", False)
    head = _head(head, description, "ReinMask2FormerHead" if linked else "Mask2FormerHead")
    decode_head = MODELS.build(ConfigDict(head))
    return nn.ModuleDict({"backbone": backbone, "decode_head": decode_head}).eval()


def _adapter_options(kind: str, given: Mapping) -> dict:
    if kind == "rein":
        return dict(
            token_length=given["token_length"],
            rank=given.get("lora_dim"),
            link_token_to_query=given["link_token_to_query"],
            query_dims=given["query_dims"],
        )
    if kind != "soma" or given.get("components", "minor") != "minor":
        raise ValueError(f"no adapter of this package is {kind} with {dict(given)}")
    targets = "|".join(given["targets"])
    return dict(
        rank=given["rank"],
        alpha=given["alpha"],
        start_block=given["start_block"],
        # query, key and value are one layer here
        targets=rf"\.(qkv|{targets})$",
    )


def _head(head: Mapping, description: Mapping, kind: str) -> dict:
    pixels, decoder = head["pixel_decoder"], head["transformer_decoder"]
    width = head["feat_channels"]
    feed = dict(embed_dims=width, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type="ReLU", inplace=True))
    attention = dict(embed_dims=width, num_heads=decoder["heads"], batch_first=True)
    deformable = dict(
        embed_dims=width,
        num_heads=pixels["heads"],
        num_levels=pixels["levels"],
        num_points=pixels["points"],
        dropout=0.0,
        batch_first=True,
    )
    classes, positions = description["num_classes"], head["positional_encoding"]
    return dict(
        type=kind,
        in_channels=[description["vit"]["embed_dim"]] * len(head["strides"]),
        strides=head["strides"],
        feat_channels=width,
        out_channels=head["out_channels"],
        num_classes=classes,
        num_queries=description["num_queries"],
        num_transformer_feat_level=pixels["num_outs"],
        pixel_decoder=dict(
            type="mmdet.MSDeformAttnPixelDecoder",
            num_outs=pixels["num_outs"],
            norm_cfg=dict(type="GN", num_groups=pixels["norm_groups"]),
            act_cfg=dict(type="ReLU"),
            encoder=dict(
                num_layers=pixels["layers"],
                layer_cfg=dict(
                    self_attn_cfg=deformable,
                    ffn_cfg=dict(feed, feedforward_channels=pixels["feedforward_channels"]),
                ),
            ),
            positional_encoding=positions,
        ),
        positional_encoding=positions,
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=decoder["layers"],
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(feed, feedforward_channels=decoder["feedforward_channels"]),
            ),
        ),
        loss_cls=dict(type="mmdet.CrossEntropyLoss", class_weight=[1.0] * classes + [0.1]),
        loss_mask=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True),
        loss_dice=dict(type="mmdet.DiceLoss"),
    )


def _load(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{source} does not fit what its JSON describes: {error}") from error


def _outputs(model: nn.ModuleDict, images: Tensor) -> dict[str, Tensor]:
    """Features, queries and logits under the names that sets of files have for them."""
    features = model["backbone"](images)
    linked = model["backbone"].links_queries
    levels = features[:-1] if linked else features
    found = {f"feature{i}": feature for i, feature in enumerate(levels)}
    if linked:
        found["queries"] = features[-1]
    samples = [None] * len(images)
    classes, masks = (logits[-1] for logits in model["decode_head"](features, samples))
    meta = [dict(img_shape=tuple(images.shape[-2:]))]
    segmentation = model["decode_head"].predict(features, meta * len(images), None)
    return found | dict(class_logits=classes, mask_logits=masks, segmentation_logits=segmentation)


def _at_start(model: nn.ModuleDict, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapters and residual weights by SoMA's names, each component with the stored one's sign."""
    own = {k.removeprefix("backbone.vit."): v for k, v in model.state_dict().items()}
    found = {}
    for key in (k.removeprefix("at_start/") for k in stored if k.startswith("at_start/")):
        if "/" not in key:
            continue
        group, name = key.split("/", 1)
        value = own.get(name)
        for part, fused in enumerate(("q", "k", "v")):
            if f".attn.{fused}." in name:
                value = own[name.replace(f".attn.{fused}.", ".attn.qkv.")].chunk(3)[part]
        if value is None:
            raise ValueError(f"SoMA's {name} is nothing in the model")
        if group == "adapter":
            dim = 1 if name.endswith("lora_A.weight") else 0
            sign = (value * stored[f"at_start/{key}"]).sum(dim=dim, keepdim=True).sign()
            value = value * sign
        found[key] = value
    return found
