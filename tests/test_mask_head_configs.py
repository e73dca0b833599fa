"""Ready configs with mask heads: at true size on the meta device, and at reduced width."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.engine import apply_domino

from .test_backbone_configs import (
    CONFIGS,
    SIZE,
    SMALL_BACKBONES,
    SMALL_CHANNELS,
    VIT,
    D,
    Meta,
    domains,
    images,
    read,
)
from .test_stock_configs import samples, walk

FILES = sorted((CONFIGS / "mask_heads").glob("*.py"))


def name_of(path: Path) -> str:
    return path.name.split("_")[1]


def config(path):
    cfg = copy.deepcopy(read(path))
    if cfg.model.decode_head.type == "Mask2FormerHead":
        pytest.importorskip("mmdet")
    return cfg


def small(path):
    """The same model at reduced width, without weights to fetch."""
    cfg, name = config(path), name_of(path)
    model, head = cfg.model, cfg.model.decode_head
    model.backbone.update(copy.deepcopy(SMALL_BACKBONES[name]))
    for key in ("pretrained", "init_cfg"):
        model.backbone.pop(key, None)
    if model.backbone.type == "TimmViT":
        model.backbone.weights = None
    if head.type == "EoMTHead":
        model.backbone.out_indices = (1,)
        options = dict(VIT) if name == "dinov3-l" else dict(VIT, img_size=56)
        head.update(num_blocks=2, num_queries=6, weights=None, options=options,
                    loss=dict(num_points=64))  # fmt: skip
    else:
        if name != "vpd":
            head.in_channels = SMALL_CHANNELS.get(name, [16] * 4)
        head.train_cfg.num_points = 64
        head.num_queries = 6
        head.pixel_decoder.encoder.num_layers = head.transformer_decoder.num_layers = 1
    if model.get("neck"):
        model.neck.embed_dim = 16
    cfg.domino.domain_channels = D
    for node in walk(model):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    model.data_preprocessor.size = None
    model.test_cfg = dict(mode="whole")
    return cfg


def built(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.mark.parametrize(
    "path", [p for p in FILES if name_of(p).startswith("dino")], ids=lambda p: p.stem[7:22]
)
def test_backbone_and_head_fit_at_true_size(path):
    cfg = apply_domino(config(path))
    with torch.device("meta"), Meta():
        model = MODELS.build(cfg.model)
    if cfg.model.decode_head.type == "EoMTHead":
        count = len(model.backbone.backbone.vit.blocks) + len(model.decode_head.vit.blocks)
        assert count == 24
        assert next(iter(model.decode_head.vit.blocks)) == str(
            len(model.backbone.backbone.vit.blocks)
        )
    stem = path.name.replace("_mask2former", "").replace("_eomt", "")
    under_upernet = apply_domino(copy.deepcopy(read(CONFIGS / "backbones" / stem)))
    assert cfg.model.data_preprocessor == under_upernet.model.data_preprocessor
    assert cfg.test_dataloader == under_upernet.test_dataloader


@pytest.mark.parametrize("path", FILES, ids=lambda p: "_".join(p.name.split("_")[1:3]))
def test_each_learns_and_predicts_by_domain(path):
    model = built(apply_domino(small(path))).train()
    losses = model(images(), samples(domains()), mode="loss")
    loss = sum(value for key, value in losses.items() if "loss" in key)
    loss.backward()
    assert loss.isfinite()
    used = {n for n, p in model.backbone.named_parameters() if p.grad is not None}
    assert {n for n, p in model.backbone.named_parameters() if p.requires_grad} == used
    model.eval()
    with torch.no_grad():
        if name_of(path) == "vpd":  # both are zero until trained
            model.backbone.context.gate.fill_(0.5)
        else:
            model.backbone.domain.modulation.out.weight.normal_(std=0.5)
        one = model(images(), samples(domains()), mode="predict")[0].seg_logits.data
        two = model(images(), samples(domains().flip(0)), mode="predict")[0].seg_logits.data
    assert one.shape == (19, SIZE, SIZE)
    assert (one - two).abs().max() > 0


@pytest.mark.parametrize("head", ["mask2former", "eomt"])
def test_windows_and_augmentation_at_test_time(head):
    """A window of the whole image's size is the whole image, and augmented tests run."""
    (path,) = [p for p in FILES if p.name.startswith(f"domino_dinov2-l_{head}")]
    cfg = apply_domino(small(path))
    whole = built(cfg).eval()
    cfg.model.test_cfg = dict(mode="slide", crop_size=(SIZE, SIZE), stride=(SIZE // 2, SIZE // 2))
    slide = MODELS.build(cfg.model).eval()
    slide.load_state_dict(whole.state_dict())
    wide = torch.cat([images(), images().flip(0)], 3)
    batch = samples(domains(), (SIZE, 2 * SIZE))
    with torch.no_grad():
        one = whole(images(), samples(domains()), mode="predict")[0].seg_logits.data
        same = slide(images(), samples(domains()), mode="predict")[0].seg_logits.data
        result = slide(wide, batch, mode="predict")
    torch.testing.assert_close(one, same)
    assert result[0].seg_logits.data.shape == (19, SIZE, 2 * SIZE)
    augmented = MODELS.build(ConfigDict(type="SegTTAModel", module=cfg.model)).eval()
    augmented.module.load_state_dict(whole.state_dict())
    flipped = samples(domains(), (SIZE, 2 * SIZE))
    for one, other in zip(batch, flipped, strict=True):
        one.set_metainfo(dict(img_path="image.png"))
        other.set_metainfo(dict(img_path="image.png", flip=True, flip_direction="horizontal"))
    with torch.no_grad():
        merged = augmented.test_step(
            dict(inputs=[[*wide], [*wide.flip(3)]], data_samples=[batch, flipped])
        )
    assert merged[0].pred_sem_seg.data.shape == (1, SIZE, 2 * SIZE)


def test_the_new_and_the_pretrained_parts_have_their_rates():
    from mmseg_domino.engine.optimizers import parameter_groups

    (path,) = [p for p in FILES if p.name.startswith("domino_dinov2-l_eomt")]
    cfg = apply_domino(small(path))
    groups = parameter_groups(built(cfg), 1.0, 0.05, **cfg.optim_wrapper.paramwise_cfg)
    rates = {group["name"]: group["lr"] for group in groups}
    assert any(name.startswith("decode_head.vit") and rate == 0.1 for name, rate in rates.items())
