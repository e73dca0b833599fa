"""Published checkpoints of Rein, SoMA and VLTSeg as checkpoints of a config of this package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..models.adapters.published import convert_published, published_kind
from ..models.backbones import DominoBackbone, TimmViT
from .mixin import apply_domino

#: Where checkpoints of MMEngine keep weights, and what these are if both are there.
WEIGHTS = {
    "state_dict": "the averaged weights, where MMEngine's EMAHook was used",
    "ema_state_dict": "the weights of the last iteration: MMEngine's EMAHook exchanges them",
}
_TUNES = {"rein": ("rein",), "soma": ("soma",), "vltseg": ("full", "frozen")}


def convert_checkpoint(
    config: Config,
    checkpoint: str | Path,
    backbone: str | Path | None = None,
    take: str | None = None,
    merge: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Make a checkpoint of a config's model from a published one.

    Args:
        config: A config of ``configs/recipes``, or one of the same structure.
        checkpoint: The published file, whole or with 'adapter and head' alone.
        backbone: The pretrained backbone's published file, for one without its backbone. Kernel and
            position embeddings are brought to the config's sizes as its ``resampling`` says.
        take: Which of :data:`WEIGHTS`; by default the first that there is.
        merge: Add SoMA's adapters to the weights, for the same config with ``tune='full'``.

    Returns:
        All weights of the model, and a report: ``kind``, ``taken``, ``read``, ``written``,
        ``from_backbone``, ``untrained`` (parts of the domain's that no published file has) and
        ``not_used``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the checkpoint is of none of these kinds, of another than the config's, of
            another width, patch size or rank, or lacks something; or its backbone is missing.
    """
    content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
    state, note = _choose(content, take, str(checkpoint))
    kind = published_kind({key.removeprefix("module."): value for key, value in state.items()})
    model = _build(config, kind, str(checkpoint))
    converted, unused = convert_published(state)
    given = _given_by_backbone(model.backbone, converted, backbone, str(checkpoint))
    own = model.state_dict()
    # One kind of file has all biases of a backbone, also of the layers after the last output.
    left = [k for k in converted if k not in own and k.startswith("backbone.vit.norm.")]
    _check_fit(own, {k: v for k, v in converted.items() if k not in left}, str(checkpoint))
    untrained = [k for k in own if k.startswith("backbone.domain.") and k not in converted]
    missing = sorted(set(own) - set(converted) - set(given) - set(untrained))
    if missing:
        raise ValueError(
            f"{checkpoint} lacks {len(missing)} weights of the model, the first "
            f"{', '.join(missing[:4])}; it is cut off, or was trained with another config"
        )
    model.load_state_dict({**own, **{k: v for k, v in converted.items() if k in own}})
    if merge:
        model.backbone.merge_adapters()
    written = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    report = {
        "kind": kind,
        "taken": note,
        "read": len(state),
        "written": len(written),
        "from_backbone": f"{len(given)} from {backbone}" if given else None,
        "untrained": untrained,
        "not_used": [*unused, *left],
    }
    return written, report


def _choose(content: Mapping, take: str | None, source: str) -> tuple[dict[str, Tensor], str]:
    """The weights to convert, and what is said about them."""
    there = [name for name in WEIGHTS if isinstance(content.get(name), Mapping)]
    if not there:
        there, content = ["state_dict"], {"state_dict": content}
    if take is not None and take not in there:
        raise ValueError(f"{source} has no {take}; it has {', '.join(there)}")
    taken = take or there[0]
    state = {k: v for k, v in content[taken].items() if isinstance(v, Tensor)}
    state = {k: v for k, v in state.items() if k != "steps"}  # of the average itself
    note = taken
    if len(there) > 1:
        other = next(name for name in there if name != taken)
        note = f"{taken} ({WEIGHTS[taken]}), not {other} ({WEIGHTS[other]})"
    return state, note


def _build(config: Config, kind: str | None, source: str) -> nn.Module:
    if kind is None:
        raise ValueError(
            f"{source} is no published checkpoint of Rein (backbone.reins.*), SoMA "
            "(backbone.model.*) or VLTSeg (backbone.layers.*)"
        )
    cfg = apply_domino(config)
    options = cfg.model.backbone
    tune = options.get("tune", "full")
    if tune not in _TUNES[kind]:
        raise ValueError(
            f"{source} is of {kind}, and the config trains with tune={tune!r}; give the config of "
            f"a {kind} recipe"
        )
    model = MODELS.build({**cfg.model, "backbone": {**options, "save_frozen": True}})
    backbone = model.backbone
    if not isinstance(backbone, DominoBackbone) or not isinstance(backbone.backbone, TimmViT):
        raise ValueError("published checkpoints are of TimmViT; give a config of configs/recipes")
    return model


def _given_by_backbone(
    backbone: DominoBackbone,
    converted: Mapping[str, Tensor],
    file: str | Path | None,
    source: str,
) -> list[str]:
    """Read the pretrained backbone if the checkpoint has none; names of what is taken from it."""
    if "backbone.vit.patch_embed.proj.weight" in converted:
        if file is not None:
            raise ValueError(f"{source} holds its backbone; leave {file} away")
        return []
    if file is None:
        raise ValueError(
            f"{source} holds adapters and head without the backbone that they belong to; give the "
            "pretrained backbone's published file with --backbone"
        )
    backbone.backbone.weights = str(file)
    backbone.read_weights()
    own = backbone.state_dict()
    adapters = ("reins.", "domain.")
    names = [k for k in own if not k.startswith(adapters) and ".lora_" not in k]
    return [f"backbone.{k}" for k in names if f"backbone.{k}" not in converted]


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    unknown = [key for key in state if key not in own]
    if unknown:
        bias = any(key.endswith("k_proj.bias") for key in unknown)
        hint = " (model.backbone.backbone.key_bias=True gives the keys a bias)" if bias else ""
        raise ValueError(
            f"{source} has {len(unknown)} weights that the config's model has not, the first "
            f"{', '.join(unknown[:4])}{hint}; it was trained with another config"
        )
    unlike = [k for k, v in state.items() if v.shape != own[k].shape]
    if unlike:
        endings = _MEANINGS.items()
        key, meaning = next((k, m) for end, m in endings for k in unlike if k.endswith(end))
        raise ValueError(
            f"{source} has {meaning} than the config's model: {key} is "
            f"{tuple(state[key].shape)} there and {tuple(own[key].shape)} here"
            + (f" ({len(unlike)} weights differ)" if len(unlike) > 1 else "")
        )


#: What the end of a key says where its shape differs, the most telling first.
_MEANINGS = {
    "cls_token": "another width",
    "patch_embed.proj.weight": "another patch size",
    "pos_embed": "another number of patches (img_size)",
    "lora_A.weight": "another rank",
    "learnable_tokens_b": "another rank",
    "learnable_tokens_a": "another number of tokens or rank",
    "": "another shape",
}
