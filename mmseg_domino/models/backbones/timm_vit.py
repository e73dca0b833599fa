"""Vision transformers of the timm library as backbones: DINOv2, DINOv3, EVA-02, SAM, MAE, SigLIP.

Shapes: ``B`` batch, ``C`` channels, ``H W`` the image's size, ``h w`` the grid of patches.
"""

import argparse
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

import timm
import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ...utils.checkpoints import read_pickle
from ..layers.patches import (
    bicubic_start,
    choose_blocks,
    fit_to_patches,
    load_from_whole,
    resample_positions,
)


@MODELS.register_module()
class TimmViT(BaseModule):
    """A plain vision transformer by its timm name, with the outputs of some of its blocks.

    Images of any size are taken: they are resized to whole patches, and position embeddings are
    interpolated. All outputs have one stride, that of a patch; ``Feature2Pyramid`` or
    ``MultiLevelNeck`` make a pyramid of them. What comes after the last block that is put out
    (further blocks, final norm, pooling) is left out, so that no parameter is without a gradient.
    Parameters have timm's names, after ``vit.``.

    Images must be normalised with the model's own ``mean`` and ``std``
    (``timm.get_pretrained_cfg(model)``), as the ready configs do.

    Args:
        model: timm's name, such as ``"vit_large_patch14_dinov2"``; what follows a dot names the
            weights (``".lvd142m"``).
        weights: ``"timm"`` loads the published weights with timm's own loader, from its cache if
            they are there; a path loads a file in timm's or the authors' layout; ``None`` leaves
            them random. They are read when MMEngine initialises the model for training, not
            when a trained checkpoint is loaded.
        out_indices: Blocks whose outputs are given, counted from 0; negative ones from the end.
            ``None``: four at equal distances, the last block the last.
        scales: A factor for each output, by which its grid is resized bilinearly:
            ``(4, 2, 1, 0.5)`` makes the pyramid of Rein and SoMA. ``None`` leaves all at the stride
            of a patch.
        resampling: How kernel and position embeddings are brought to another patch and image size:
            ``"timm"``, or ``"bicubic"``, as DINOv2, Rein and SoMA do it (see
            :func:`~mmseg_domino.models.layers.patches.bicubic_start`).
        key_bias: Give EVA-02's keys a bias, which starts at zero. Its own code has none;
            MMPretrain's does, and so do models trained there.
        prefix_tokens: Give the class and register tokens of the last of them, too.
        drop_path_rate: Stochastic depth, in [0, 1).
        with_cp: Recompute blocks in the backward pass to save memory.
        options: Further arguments of timm's constructor.
        init_cfg: MMEngine's initialisation config, in place of ``weights``.

    Shape:
        - Input: ``(B, 3, H, W)``.
        - Output: a tuple of ``(B, C, h, w)``; with ``prefix_tokens`` and last, ``(B, P, C)``.

    Raises:
        ValueError: If timm has no such model or weights, it is no plain vision transformer, a
            block does not exist, or a file does not fit.
        FileNotFoundError: If the weights are missing and cannot be fetched; says how to get them.
    """

    def __init__(
        self,
        model: str,
        weights: str | None = "timm",
        out_indices: Sequence[int] | None = None,
        scales: Sequence[float] | None = None,
        resampling: str = "timm",
        key_bias: bool = False,
        prefix_tokens: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        options: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if init_cfg is not None and weights is not None:
            raise ValueError(f"give `weights` ({weights!r}) or `init_cfg`, not both")
        self.name, self.weights = model, weights
        self.options = {"drop_path_rate": drop_path_rate, **(options or {})}
        if not model.startswith("samvit"):
            # SAM's interpolates in any case and does not know this argument.
            self.options["dynamic_img_size"] = True
        vit = build_vit(model, self.options)
        self.out_indices = choose_blocks(out_indices, len(vit.blocks), model)
        vit.prune_intermediate_layers(list(self.out_indices), prune_norm=True, prune_head=True)
        vit.set_grad_checkpointing(with_cp)
        self.patch_size = vit.patch_embed.patch_size[0]
        self.embed_dims = vit.embed_dim
        self.prefix_tokens = prefix_tokens and getattr(vit, "num_prefix_tokens", 0) > 0
        if scales is not None and len(scales) != len(self.out_indices):
            raise ValueError(
                f"scales has a factor for each of the {len(self.out_indices)} outputs, got {scales}"
            )
        self.scales = scales
        self.resampling = resampling
        _choose_resampling(vit, resampling, model)
        if key_bias:
            _add_key_bias(vit, model)
        self.vit = vit

    def init_weights(self) -> None:
        """Load the weights that ``weights`` names."""
        if self.weights is None:
            super().init_weights()
            return
        # Built whole once more by timm, whose loader knows each model's published layouts.
        if self.resampling == "bicubic":
            # The sizes that the file has: timm would bring it to ours in its own way.
            options = {k: v for k, v in self.options.items() if k not in ("patch_size", "img_size")}
            state = load_vit(self.name, self.weights, options).state_dict()
            state = bicubic_start(state, self.patch_size, self.vit.patch_embed.grid_size)
        else:
            state = load_vit(self.name, self.weights, self.options).state_dict()
        biases = {k: v for k, v in self.vit.state_dict().items() if k.endswith("k_proj.bias")}
        load_from_whole(self.vit, {**{k: torch.zeros_like(v) for k, v in biases.items()}, **state})
        self._is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.vit.forward_intermediates(
            fit_to_patches(x, self.patch_size),
            indices=list(self.out_indices),
            output_fmt="NCHW",
            intermediates_only=True,
            **({"return_prefix_tokens": True} if self.prefix_tokens else {}),
        )
        if self.prefix_tokens:
            return (*self._rescaled([grid for grid, _ in features]), features[-1][1])
        return self._rescaled(features)

    def _rescaled(self, grids: Sequence[Tensor]) -> tuple[Tensor, ...]:
        scales = self.scales or [1] * len(grids)
        return tuple(
            F.interpolate(grid, scale_factor=scale, mode="bilinear", align_corners=False)
            if scale != 1
            else grid
            for grid, scale in zip(grids, scales, strict=True)
        )


class _BicubicViT(VisionTransformer):
    """timm's vision transformer with DINOv2's own interpolation of position embeddings."""

    def _pos_embed(self, x: Tensor) -> Tensor:
        positions = resample_positions(self.pos_embed[0], tuple(x.shape[1:3]), excess=0.1)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        return self.pos_drop(x + positions)


def _choose_resampling(vit: nn.Module, resampling: str, model: str) -> None:
    if resampling not in ("timm", "bicubic"):
        raise ValueError(f"resampling is 'timm' or 'bicubic', got {resampling!r}")
    if resampling == "timm":
        return
    if type(vit) is not VisionTransformer or vit.reg_token is not None or vit.no_embed_class:
        raise ValueError(
            f"resampling='bicubic' is that of DINOv2 without registers, got {model}; take 'timm'"
        )
    vit.__class__ = _BicubicViT


def _add_key_bias(vit: nn.Module, model: str) -> None:
    for block in vit.blocks:
        layer = getattr(block.attn, "k_proj", None)
        if layer is None:
            raise ValueError(f"key_bias is for EVA-02 with separate projections, got {model}")
        layer.bias = nn.Parameter(torch.zeros(layer.out_features))


def build_vit(model: str, options: Mapping) -> nn.Module:
    """timm's model of that name with random weights."""
    if not timm.is_model(model):
        near = difflib.get_close_matches(model.split(".")[0], timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(
            f"timm {timm.__version__} has no model {model!r}; near it are {', '.join(near)}"
        )
    refused = (
        f"{model} is no plain vision transformer of timm's; use TIMMBackbone of mmseg or "
        "mmpretrain for it"
    )
    try:
        vit = timm.create_model(model, pretrained=False, num_classes=0, **options)
    except TypeError as error:
        raise ValueError(f"{refused} ({error})") from error
    except RuntimeError as error:
        if "." not in model:
            raise
        raise ValueError(f"{error} {_known_weights(model)}") from error
    if not hasattr(vit, "blocks") or not hasattr(vit, "prune_intermediate_layers"):
        raise ValueError(refused)
    return vit


def _known_weights(model: str) -> str:
    known = timm.list_models(f"{model.split('.')[0]}.*", pretrained=True)
    return f"Weights are known for: {', '.join(known) or 'none of this architecture'}"


def load_vit(model: str, weights: str, options: Mapping) -> nn.Module:
    """A whole model with its weights.

    The classifier stays, since timm lets missing keys pass as soon as it is left out.
    """
    if weights != "timm":
        return _load_file(model, Path(weights).expanduser(), options)
    if not timm.models.get_pretrained_cfg(model).has_weights:
        raise ValueError(f"timm publishes no weights for {model!r}. {_known_weights(model)}")
    try:
        return timm.create_model(model, pretrained=True, **options)
    except OSError as error:
        code = f"import timm; timm.create_model({model!r}, pretrained=True)"
        raise FileNotFoundError(
            f"the weights of {model!r} are not in the cache and could not be fetched "
            f"({type(error).__name__}). On a machine with a network run\n"
            f'    HF_HUB_OFFLINE=0 python -c "{code}"\n'
            "and copy its Hugging Face cache here (HF_HOME names its folder); with "
            "HF_HUB_OFFLINE=1 nothing is asked of the network. Or give a file: weights='PATH'."
        ) from error


def _load_file(model: str, path: Path, options: Mapping) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(
            f"weights={str(path)!r} of {model} is no file; give a checkpoint in timm's or the "
            "authors' layout, 'timm' for the published weights, or None"
        )
    if path.suffix not in (".npz", ".safetensors"):
        # Older releases of timm run what is in a pickle.
        read_pickle(path, {"argparse.Namespace": argparse.Namespace}, mmap=True)
    # NumPy archives are JAX's, which some of timm's models read themselves.
    source = {"file": str(path), "custom_load": path.suffix == ".npz"}
    try:
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=source, **options)
    except (RuntimeError, KeyError, AttributeError) as error:
        lines = str(error).splitlines()
        raise ValueError(
            f"the file {path} does not fit {model}: {' '.join(lines[:3])[:500]}"
        ) from error
