"""One small model of every kind that computes, for tests of what all of them must do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mmpretrain.models  # noqa: F401  registers ConvNeXt
import torch
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from torch import Tensor, nn

import mmseg_domino.models  # noqa: F401  registers the parts

from .models.diffusion.vpd_models import ARCHITECTURE, UNET
from .tiny_clip import write_tiny_clip

CONFIGS = Path(__file__).parents[1] / "configs"
D, CLASSES = UNET["cross_attention_dim"], 5
_DEPTH = dict(depth=2, embed_dim=32, num_heads=2)
_STOCK = {
    "resnet": dict(
        type="ResNetV1c", depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type="BN")
    ),
    "segformer": dict(
        type="MixVisionTransformer", embed_dims=8, num_stages=4, num_layers=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1], patch_sizes=[7, 3, 3, 3], sr_ratios=[8, 4, 2, 1],
        drop_path_rate=0.0,
    ),
    "swin": dict(
        type="SwinTransformer", embed_dims=8, depths=(2, 1, 1, 1), num_heads=(1, 1, 1, 1),
        window_size=4, pretrain_img_size=64, drop_path_rate=0.0,
    ),
    "convnext": dict(
        type="mmpretrain.ConvNeXt", arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]),
        out_indices=[0, 1, 2, 3], gap_before_final_norm=False, drop_path_rate=0.0,
    ),
    "open_clip": dict(type="OpenClipViT", model="CLIP", weights=None, out_indices=(0, 1)),
    "dinov2": dict(
        type="TimmViT", model="vit_large_patch14_reg4_dinov2", weights=None, out_indices=(0, 1),
        options=dict(img_size=56, **_DEPTH),
    ),
    "dinov3": dict(
        type="TimmViT", model="vit_large_patch16_dinov3", weights=None, out_indices=(0, 1),
        options=_DEPTH,
    ),
    "eva02": dict(
        type="TimmViT", model="eva02_large_patch14_224", weights=None, out_indices=(0, 1),
        options=dict(img_size=56, **_DEPTH),
    ),
    "sam": dict(
        type="TimmViT", model="samvit_large_patch16", weights=None, out_indices=(0, 1),
        options=dict(
            img_size=64, window_size=3, global_attn_indexes=(1,), neck_chans=8, **_DEPTH
        ),
    ),
}  # fmt: skip
_WITH_CP = ("segformer", "swin", "convnext", "open_clip", "dinov2", "dinov3", "eva02", "sam")


def _vpd(**kwargs) -> dict:
    weights = dict(name="random", architecture=ARCHITECTURE)
    return dict(type="DominoVPD", weights=weights, classes=dict(count=CLASSES), **kwargs)


def _wrapped(name: str, **kwargs) -> dict:
    return dict(type="DominoBackbone", backbone=_STOCK[name], domain_channels=D, **kwargs)


def _norm(norm: str, **kwargs) -> dict:
    return dict(
        type="DominoNorm", in_channels=(8, 16), domain_channels=D, num_groups=4, norm=norm, **kwargs
    )


def _segmentor(kind: str = "DominoEncoderDecoder", mode: str = "slide", **test_cfg) -> dict:
    channels = [c + CLASSES * (i in (1, 2)) for i, c in enumerate(UNET["block_out_channels"])]
    head = dict(
        type="FCNHead", in_channels=8, in_index=0, channels=8, num_convs=1, num_classes=CLASSES,
        norm_cfg=dict(type="GN", num_groups=2), dropout_ratio=0,
    )  # fmt: skip
    ocr = dict(
        type="OCRHead", in_channels=8, in_index=0, channels=8, ocr_channels=8,
        num_classes=CLASSES, norm_cfg=dict(type="GN", num_groups=2), dropout_ratio=0,
    )  # fmt: skip
    cascade = kind == "DominoCascadeEncoderDecoder"
    fpn = dict(type="FPN", in_channels=channels, out_channels=8, num_outs=4)
    sizes = dict(crop_size=(64, 64), stride=(43, 43)) if mode == "slide" else {}
    return dict(
        type=kind,
        data_preprocessor=dict(type="SegDataPreProcessor"),
        backbone=_vpd(),
        neck=dict(
            type="DominoNorm", in_channels=channels, domain_channels=D, norm="layer", neck=fpn
        ),
        decode_head=[head, ocr] if cascade else head,
        train_cfg=dict(),
        test_cfg=dict(mode=mode, **sizes, **test_cfg),
        **({"num_stages": 2} if cascade else {}),
    )


def _eomt() -> dict:
    model = dict(
        model="vit_large_patch14_reg4_dinov2", weights=None,
        options=dict(img_size=56, depth=4, embed_dim=32, num_heads=2),
    )  # fmt: skip
    vit = dict(type="TimmViT", out_indices=(1,), prefix_tokens=True, **model)
    return dict(
        type="DominoEncoderDecoder",
        backbone=dict(type="DominoBackbone", backbone=vit, domain_channels=D),
        decode_head=dict(
            type="EoMTHead", num_classes=CLASSES, num_blocks=2, num_queries=6,
            loss=dict(num_points=64), **model,
        ),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip


def _rein() -> dict:
    """Rein's tokens in a pyramid of four blocks, with its queries after the features."""
    vit = dict(
        type="TimmViT", model="vit_large_patch14_dinov2", weights=None, out_indices=(0, 1, 2, 3),
        scales=(4, 2, 1, 0.5),
        options=dict(img_size=64, patch_size=16, depth=4, embed_dim=32, num_heads=2),
    )  # fmt: skip
    adapter = dict(token_length=6, rank=3, link_token_to_query=True, query_dims=16)
    return dict(
        type="DominoBackbone", backbone=vit, domain_channels=D, tune="rein", adapter=adapter
    )


def _mask2former(backbone: dict, channels: list[int], kind: str = "Mask2FormerHead") -> dict:
    """The head of the configs, smaller."""
    read = Config.fromfile(CONFIGS / "_base_" / "models" / "mask2former_head.py")
    head = read.mask2former_head.to_dict()
    attention = dict(embed_dims=16, num_heads=2)
    feed_forward = dict(embed_dims=16, feedforward_channels=32)
    encoder, decoder = head["pixel_decoder"]["encoder"], head["transformer_decoder"]
    for part, layers in ((encoder, 1), (decoder, 1)):
        part["num_layers"] = layers
        for name, options in part["layer_cfg"].items():
            options.update(feed_forward if name == "ffn_cfg" else attention)
    head["pixel_decoder"]["norm_cfg"]["num_groups"] = 4
    for owner in (head, head["pixel_decoder"]):
        owner["positional_encoding"]["num_feats"] = 8
    head["train_cfg"]["num_points"] = 64
    head["loss_cls"]["class_weight"] = [1.0] * CLASSES + [0.1]
    head.update(
        type=kind, in_channels=channels, feat_channels=16, out_channels=16, num_queries=6,
        num_classes=CLASSES,
    )  # fmt: skip
    return dict(
        type="DominoEncoderDecoder", backbone=backbone, decode_head=head,
        test_cfg=dict(mode="whole"),
    )  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A model and how to run it.

    Attributes:
        config: Of the model; a model named ``CLIP`` stands for the folder of a small one.
        inputs: What it is called with, on the CPU, drawn anew and the same at each call.
        draws: Whether its loss is taken at random points, which are others on another device.
        checkpointing: The option that recomputes in the backward pass, if it has one.
    """

    config: dict
    inputs: Callable[[], tuple]
    checkpointing: str | None = None
    draws: bool = False

    def build(self, folder: Path, **kwargs) -> nn.Module:
        """The model with values that show in its output, the same at each call.

        Args:
            folder: Where a small CLIP lies, or is written if it does not.
            kwargs: Of its config, beside those that it has.
        """
        torch.manual_seed(0)
        config = _with_clip({**self.config, **kwargs}, folder)
        return stir(MODELS.build(ConfigDict(config)))

    def build_checkpointing(self, folder: Path) -> nn.Module:
        """The same, recomputing its activations."""
        config = self.config
        if self.checkpointing == "with_cp":
            backbone = {**config["backbone"], "with_cp": True}
            return self.build(folder, backbone=backbone)
        return self.build(folder, execution=dict(checkpointing=True))


def _with_clip(config: dict, folder: Path) -> dict:
    if config.get("model") == "CLIP":
        if not (folder / "open_clip_config.json").exists():
            write_tiny_clip(folder)
        return {**config, "model": str(folder)}
    return {k: _with_clip(v, folder) if isinstance(v, dict) else v for k, v in config.items()}


def stir(module: nn.Module) -> nn.Module:
    """Give parameters that start at zero or one values that show; others stay."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if ".out." in name and ("domain." in name or "modulation." in name):
                parameter.copy_(noise * 0.3)
            elif parameter.ndim == 1 or not parameter.any():
                parameter.add_(noise * 0.05)
    return module.eval()


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _images() -> tuple:
    return _random(2, 3, 64, 64, seed=2).clamp(-1, 1), _random(2, D, seed=3)


def _levels() -> tuple:
    return (_random(2, 8, 8, 8, seed=2), _random(2, 16, 4, 4, seed=4)), _random(2, D, seed=3)


BACKBONES = {
    "vpd": Member(_vpd(), _images, "execution"),
    "vpd-all-maps-concat-lora": Member(
        _vpd(injection="concat", attention=dict(maps=(8, 16, 32)), tune="lora"),
        _images,
        "execution",
    ),
    "vpd-none-sample": Member(
        _vpd(injection="none", vae=dict(latent="sample"), attention=dict(maps=())), _images
    ),
    **{
        name: Member(_wrapped(name), _images, "with_cp" if name in _WITH_CP else None)
        for name in _STOCK
    },
    "swin-lora": Member(_wrapped("swin", tune="lora"), _images),
    "dinov2-rein": Member(_rein(), _images),
    "resnet-frozen": Member(_wrapped("resnet", tune="frozen", injection="add"), _images),
}
NECKS = {
    "group": Member(_norm("group"), _levels),
    "layer-tied": Member(_norm("layer", tied=True), _levels),
    "instance": Member(_norm("instance", injection="add"), _levels),
    "batch-fpn": Member(
        _norm("batch", neck=dict(type="FPN", in_channels=[8, 16], out_channels=4, num_outs=2)),
        _levels,
    ),
}
SEGMENTORS = {
    "whole": Member(_segmentor(mode="whole"), _images),
    "slide": Member(_segmentor(windows_per_batch=3), _images),
    "slide-one-latent": Member(_segmentor(windows_per_batch=4, latent="image"), _images),
    "cascade": Member(_segmentor("DominoCascadeEncoderDecoder", mode="whole"), _images),
    "eomt": Member(_eomt(), _images, draws=True),
    "mask2former": Member(_mask2former(_wrapped("resnet"), [8, 16, 32, 64]), _images, draws=True),
    "rein-mask2former": Member(
        _mask2former(_rein(), [32] * 4, "ReinMask2FormerHead"), _images, draws=True
    ),
}
