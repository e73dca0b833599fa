"""Small trained models of the kinds that `domino export` must serve, as config and checkpoint."""

from pathlib import Path

import mmpretrain.models  # noqa: F401  registers ConvNeXt
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import mmseg_domino.plugin  # noqa: F401  registers the parts

from .models.diffusion.vpd_models import UNET, VAE
from .small_domino import CLASSES, PALETTE
from .zoo import _STOCK, stir

#: Widths of tests.tiny_clip.
JOINT, CONTEXT = 16, 24
_ROOT = Path(__file__).parents[1]
_SLIDE = dict(mode="slide", crop_size=(64, 64), stride=(43, 43), windows_per_batch=3)
_NORM = dict(type="GN", num_groups=2)


def _fcn(channels: int, index: int = 0) -> dict:
    return dict(
        type="FCNHead", in_channels=channels, in_index=index, channels=8, num_convs=1,
        num_classes=len(CLASSES), norm_cfg=_NORM, dropout_ratio=0,
    )  # fmt: skip


def _wrapped(name: str, head: dict, test_cfg: dict, **kwargs) -> dict:
    backbone = dict(
        type="DominoBackbone", backbone=_STOCK[name], domain_channels=JOINT,
        norms=dict(space="joint"), **kwargs,
    )  # fmt: skip
    return dict(backbone=backbone, decode_head=head, test_cfg=test_cfg)


def _vpd(test_cfg: dict) -> dict:
    # A layer a block is the least, and halves the time of tracing.
    unet = dict(UNET, layers_per_block=1, cross_attention_dim=CONTEXT)
    return dict(
        backbone=dict(
            type="DominoVPD",
            weights=dict(name="random", architecture=dict(unet=unet, vae=VAE)),
            classes=dict(count=len(CLASSES)),
            attention=dict(space="context", maps=(16, 32)),
            norms=dict(space="joint", layers="norm1"),
            domain_channels=JOINT,
            tune="lora",
            execution=dict(channels_last=True),
        ),
        neck=dict(
            type="DominoNorm", domain_channels=JOINT, norm="layer", space="joint",
            neck=dict(type="FPN", out_channels=8, num_outs=4),
        ),
        decode_head=dict(
            type="FPNHead", in_channels=[8] * 4, in_index=[0, 1, 2, 3],
            feature_strides=[8, 16, 32, 64], channels=8, num_classes=len(CLASSES),
            norm_cfg=_NORM, dropout_ratio=0,
        ),
        test_cfg=test_cfg,
    )  # fmt: skip


def _mask2former() -> dict:
    cfg = Config.fromfile(_ROOT / "configs/_base_/models/mask2former_head.py")
    head = cfg.mask2former_head.to_dict()
    width, attention = 16, dict(embed_dims=16, num_heads=2)
    head.update(
        in_channels=[8, 16, 32, 64], feat_channels=width, out_channels=width, num_queries=6,
        num_classes=len(CLASSES), positional_encoding=dict(num_feats=width // 2, normalize=True),
    )  # fmt: skip
    decoder, transformer = head["pixel_decoder"], head["transformer_decoder"]
    decoder["norm_cfg"] = _NORM
    decoder["positional_encoding"] = head["positional_encoding"]
    decoder["encoder"]["num_layers"] = transformer["num_layers"] = 2
    decoder["encoder"]["layer_cfg"]["self_attn_cfg"].update(attention)
    for layer in (decoder["encoder"]["layer_cfg"], transformer["layer_cfg"]):
        layer["ffn_cfg"].update(embed_dims=width, feedforward_channels=2 * width)
    for name in ("self_attn_cfg", "cross_attn_cfg"):
        transformer["layer_cfg"][name].update(attention)
    head["loss_cls"]["class_weight"] = [1.0] * len(CLASSES) + [0.1]
    return _wrapped("resnet", head, _SLIDE)


_SEGFORMER_HEAD = dict(
    type="SegformerHead", in_channels=[8, 8, 8, 8], in_index=[0, 1, 2, 3], channels=8,
    num_classes=len(CLASSES), norm_cfg=dict(type="BN"), dropout_ratio=0, align_corners=False,
)  # fmt: skip
MODELS_OF = {
    "vpd": lambda: _vpd(_SLIDE),
    "vpd-whole": lambda: _vpd(dict(mode="whole")),
    "segformer": lambda: _wrapped("segformer", _SEGFORMER_HEAD, dict(mode="whole")),
    "convnext": lambda: _wrapped("convnext", _fcn(16, 3), _SLIDE),
    # windows of 64 pixels are resized to whole patches of 14 inside
    "dinov2-lora": lambda: _wrapped(
        "dinov2", _fcn(32), _SLIDE, tune="lora", adapter=dict(rank=2, targets=r"qkv|proj|fc")
    ),
    "mask2former": _mask2former,
}


def write_small_export(folder: Path, kind: str, clip: str, **preprocessor) -> tuple[str, str]:
    """Write ``config.py`` and ``model.pth`` of a kind, in which the domain matters."""
    model = MODELS_OF[kind]()
    config = Config(
        dict(
            default_scope="mmseg",
            model=dict(
                type="DominoEncoderDecoder",
                data_preprocessor=dict(
                    type="DominoDataPreProcessor",
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                    domain_encoder=dict(model=clip, bank="acdc"),
                    space=("joint", "context"),
                    **preprocessor,
                ),
                train_cfg=dict(),
                **model,
            ),
            custom_imports=dict(
                imports=["mmseg_domino.plugin", "mmpretrain.models"], allow_failed_imports=False
            ),
            test_pipeline=[dict(type="LoadCheckedImage"), dict(type="PackDominoInputs")],
        )
    )
    init_default_scope("mmseg")
    folder.mkdir(parents=True, exist_ok=True)
    config.dump(str(folder / "config.py"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = MODELS.build(config.model)
        stir(built)
        for name, parameter in built.named_parameters():
            if ".lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    meta = {"dataset_meta": {"classes": CLASSES, "palette": PALETTE}}
    torch.save({"state_dict": built.state_dict(), "meta": meta}, folder / "model.pth")
    return str(folder / "config.py"), str(folder / "model.pth")
