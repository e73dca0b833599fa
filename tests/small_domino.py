"""A Domino model that predicts an image in milliseconds, as config and checkpoint files."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import mmseg_domino.plugin  # noqa: F401  registers the parts

CLASSES = ("road", "sky", "car")
PALETTE = [[128, 64, 128], [70, 130, 180], [0, 0, 142]]
#: Text width of tests.tiny_clip.
WIDTH = 24


def small_config(clip: str, **preprocessor) -> Config:
    """The complete config; ``preprocessor`` overrides arguments of the data preprocessor."""
    model = dict(
        type="DominoEncoderDecoder",
        data_preprocessor=dict(
            type="DominoDataPreProcessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            domain_encoder=dict(model=clip, bank="acdc"),
            **preprocessor,
        ),
        backbone=dict(
            type="ResNetV1c", depth=18, base_channels=4, num_stages=4, norm_cfg=dict(type="BN")
        ),
        neck=dict(
            type="DominoNorm", in_channels=[4, 8, 16, 32], domain_channels=WIDTH, num_groups=2
        ),
        decode_head=dict(
            type="FCNHead", in_channels=8, in_index=1, channels=8, num_convs=1,
            num_classes=len(CLASSES), norm_cfg=dict(type="BN"),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip
    return Config(
        dict(
            default_scope="mmseg",
            model=model,
            custom_imports=dict(imports=["mmseg_domino.plugin"], allow_failed_imports=False),
            test_pipeline=[
                dict(type="SetDomain", dataset="acdc", domain="fog"),
                dict(type="LoadCheckedImage"),
                dict(type="LoadDomainEmbedding", store="absent.safetensors"),
                dict(type="Resize", scale=(96, 64), keep_ratio=True),
                dict(type="LoadCheckedAnnotations"),
                dict(type="PackDominoInputs"),
            ],
        )
    )


def write_small_domino(folder: Path, clip: str, **preprocessor) -> tuple[Path, Path]:
    """Write ``config.py`` and ``model.pth``, in which the domain matters; return both."""
    config = small_config(clip, **preprocessor)
    init_default_scope("mmseg")  # for fixtures that outlive a test
    config.dump(str(folder / "config.py"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        for parameter in model.neck.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        # So that no class takes the whole picture.
        torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1.0)
    meta = {"dataset_meta": {"classes": CLASSES, "palette": PALETTE}}
    torch.save({"state_dict": model.state_dict(), "meta": meta}, folder / "model.pth")
    return folder / "config.py", folder / "model.pth"
