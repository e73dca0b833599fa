"""The ready configs: at true size on the meta device, and each combination at reduced width."""

import copy
import json
from functools import cache
from pathlib import Path

import cv2
import mmpretrain.models  # noqa: F401  registers ConvNeXt
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.domain import load_prompt_bank
from mmseg_domino.engine import apply_domino
from mmseg_domino.engine.optimizers import parameter_groups
from mmseg_domino.experiments import load_set

from .models.diffusion.vpd_models import ARCHITECTURE
from .test_stock_configs import Empty, samples, walk
from .tiny_clip import CONFIG, write_tiny_clip

CONFIGS = Path(__file__).parents[1] / "configs"
SUFFIX = "_8xb2-40k_cityscapes-512x512"
D, SIZE = 12, 64
TUNES = ("full", "frozen", "lora")

#: Millions of parameters of the backbone alone, as its authors or the host framework give them
#: (without classifiers and final norms), widths of the four levels, and their strides.
TRUE_SIZE = {
    "r50": (23.5, (256, 512, 1024, 2048), (4, 8, 16, 32)),
    "r101": (42.5, (256, 512, 1024, 2048), (4, 8, 16, 32)),
    "mit-b5": (81.4, (64, 128, 320, 512), (4, 8, 16, 32)),
    "swin-l": (195.2, (192, 384, 768, 1536), (4, 8, 16, 32)),
    "convnext-l": (196.2, (192, 384, 768, 1536), (4, 8, 16, 32)),
    "clip-l": (303.2, (1024,) * 4, (14,) * 4),
    "dinov2-s": (22.1, (384,) * 4, (14,) * 4),
    "dinov2-b": (86.6, (768,) * 4, (14,) * 4),
    "dinov2-l": (304.4, (1024,) * 4, (14,) * 4),
    "dinov3-l": (303.1, (1024,) * 4, (16,) * 4),
    "eva02-l": (303.3, (1024,) * 4, (14,) * 4),
    "sam-l": (308.0, (1024,) * 4, (16,) * 4),
    "mae-l": (303.3, (1024,) * 4, (16,) * 4),
    "siglip-l": (303.6, (1024,) * 4, (16,) * 4),
}
NAMES = (*TRUE_SIZE, "vpd")

VIT = dict(embed_dim=16, depth=4, num_heads=2)
SMALL_BACKBONES = {
    "r50": dict(base_channels=4, stem_channels=4),
    "r101": dict(depth=18, base_channels=16, stem_channels=4),
    "mit-b5": dict(embed_dims=4, num_layers=[1, 1, 1, 1]),
    "swin-l": dict(embed_dims=12, depths=[2, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=4,
                   pretrain_img_size=64),
    "convnext-l": dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16])),
    "sam-l": dict(options=dict(VIT, img_size=64, window_size=3, global_attn_indexes=(1, 3),
                               neck_chans=8)),
    "dinov3-l": dict(options=VIT),
    "vpd": dict(weights=dict(name="random", architecture=ARCHITECTURE), classes=dict(count=19)),
    **{name: dict(options=dict(VIT, img_size=56)) for name in
       ("dinov2-s", "dinov2-b", "dinov2-l", "eva02-l", "mae-l", "siglip-l")},
}  # fmt: skip
SMALL_CHANNELS = {
    "r50": [16, 32, 64, 128], "r101": [16, 32, 64, 128], "mit-b5": [4, 8, 20, 32],
    "swin-l": [12, 24, 48, 96], "convnext-l": [8, 8, 16, 16], "vpd": [8, 8 + 19, 16 + 19, 16],
}  # fmt: skip


class Meta(Empty):
    """Schedules, which backbones read back while they are built, are computed."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.linspace:
            kwargs = {**(kwargs or {}), "device": "cpu"}
        return super().__torch_function__(function, types, args, kwargs)


@cache
def read(path):
    return Config.fromfile(path)


def ready(name, tune="full", plain=False):
    """The model of a ready config with the options that the documentation names."""
    cfg = copy.deepcopy(read(CONFIGS / "backbones" / f"domino_{name}{SUFFIX}.py"))
    options = {"domino.backbone.tune": tune}
    if plain:
        options.update({"domino.encode": "none", "domino.backbone.injection": "none"})
    cfg.merge_from_dict(options)
    return cfg


def small(cfg, name, tmp_path):
    """The same model at reduced width, without weights to fetch."""
    backbone = cfg.model.backbone
    backbone.update(copy.deepcopy(SMALL_BACKBONES.get(name, {})))
    for key in ("pretrained", "init_cfg"):
        backbone.pop(key, None)
    if backbone.type == "TimmViT":
        backbone.weights = None
    if backbone.type == "OpenClipViT":
        config = tmp_path / "clip.json"
        vision = {**CONFIG["model_cfg"]["vision_cfg"], "layers": 4}
        model_cfg = {**CONFIG["model_cfg"], "vision_cfg": vision}
        config.write_text(json.dumps({**CONFIG, "model_cfg": model_cfg}))
        backbone.update(model=str(config), weights=None)
    width = 32 if name == "clip-l" else 16
    cfg.model.decode_head.in_channels = SMALL_CHANNELS.get(name, [width] * 4)
    if cfg.model.get("neck"):
        cfg.model.neck.embed_dim = width
    cfg.model.decode_head.channels = 16
    cfg.domino.domain_channels = D
    for node in walk(cfg.model):
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    cfg.model.data_preprocessor.size = None
    cfg.model.test_cfg = dict(mode="whole")
    return cfg


def domains():
    return torch.randn(2, D, generator=torch.Generator().manual_seed(2))


def images():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_there_is_one_of_each():
    files = {p.stem for p in (CONFIGS / "backbones").glob("*.py")}
    assert files == {f"domino_{name}{SUFFIX}" for name in NAMES}
    compared = load_set(CONFIGS / "ablation" / "backbones.py").conditions
    assert set(compared) == {f"{m}_{name}" for name in NAMES for m in ("domino", "upernet")}


@pytest.mark.parametrize("name", TRUE_SIZE)
def test_a_ready_config_is_the_published_model_with_a_pyramid(name):
    cfg = apply_domino(ready(name))
    with torch.device("meta"), Meta():
        model = MODELS.build(cfg.model)
        backbone = model.backbone
        millions, widths, strides = TRUE_SIZE[name]
        own = sum(p.numel() for n, p in backbone.named_parameters() if not n.startswith("domain."))
        assert own / 1e6 == pytest.approx(millions, rel=0.005)
        features = backbone.eval()(torch.empty(1, 3, 448, 448), torch.empty(1, 768))
        assert [tuple(f.shape) for f in features] == [
            (1, width, 448 // stride, 448 // stride)
            for width, stride in zip(widths, strides, strict=True)
        ]
        if model.with_neck:
            features = model.neck(features)
            grid = 448 // strides[0]
            assert [f.shape[-1] for f in features] == [4 * grid, 2 * grid, grid, grid // 2]
        assert [f.shape[1] for f in features] == list(model.decode_head.in_channels)


@pytest.mark.parametrize("plain", [False, True], ids=["domino", "plain"])
@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("name", NAMES)
def test_each_combination_learns_and_predicts(name, tune, plain, tmp_path):
    torch.manual_seed(0)
    cfg = apply_domino(small(ready(name, tune, plain), name, tmp_path))
    model = MODELS.build(cfg.model)
    model.init_weights()
    trained = {n for n, p in model.backbone.named_parameters() if p.requires_grad}
    domain = {n for n in trained if n.startswith(("domain.", "context.adapter"))}
    lora = {n for n in trained if ".lora_" in n}
    if name != "vpd":
        assert bool(domain) != plain
        assert trained == domain | lora or tune == "full"
    assert bool(lora) == (tune == "lora")
    embeddings = [None, None] if plain else domains()
    batch = samples(embeddings)
    if plain:
        for sample in batch:
            del sample.domain_embedding
    losses = model.train()(images(), batch, mode="loss")
    loss = sum(value for key, value in losses.items() if "loss" in key)
    loss.backward()
    assert loss.isfinite()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    with torch.no_grad():
        if not plain and name == "vpd":
            model.backbone.context.gate.fill_(0.5)
        elif not plain:
            model.backbone.domain.modulation.out.weight.normal_(std=0.5)
        results = model.eval()(images(), batch, mode="predict")
        assert results[0].seg_logits.data.shape == (19, SIZE, SIZE)
        if not plain:
            other = model(images(), samples(embeddings.flip(0)), mode="predict")
            for one, two in zip(results, other, strict=True):
                assert (one.seg_logits.data - two.seg_logits.data).abs().max() > 0


def test_the_comparison_is_the_ready_config_with_and_without_domino():
    compared = load_set(CONFIGS / "ablation" / "backbones.py")
    for name in ("r50", "vpd"):
        assert compared.resolve(f"domino_{name}").to_dict() == (
            read(CONFIGS / "backbones" / f"domino_{name}{SUFFIX}.py").to_dict()
        )
        plain = apply_domino(compared.resolve(f"upernet_{name}"))
        expected = apply_domino(ready(name, plain=True))
        assert plain.model == expected.model
        assert plain.model.data_preprocessor.type == "SegDataPreProcessor"
        transforms = [t.type for t in plain.train_dataloader.dataset.pipeline]
        assert "LoadDomainEmbedding" not in transforms
        assert plain.optim_wrapper == expected.optim_wrapper


@pytest.mark.parametrize("kind", ["file", "array"])
def test_a_raw_image_needs_no_store(kind, tmp_path):
    """The config asks for a store; deployed, the data preprocessor runs CLIP itself."""
    clip = write_tiny_clip(tmp_path / "clip")
    cfg = small(ready("r50"), "r50", tmp_path)
    cfg.domino.encoder = dict(model=str(clip), bank="acdc")
    cfg.domino.domain_channels = CONFIG["model_cfg"]["embed_dim"]
    cfg = apply_domino(cfg)
    cfg.test_pipeline[-2].scale = (96, 48)
    model = init_model(cfg, device="cpu")
    array = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), array)
    result = inference_model(model, str(tmp_path / "image.png") if kind == "file" else array)
    assert result.pred_sem_seg.data.shape == (1, 40, 90)
    assert result.domain_names == load_prompt_bank("acdc").keys
    assert result.domain_scores.sum() == pytest.approx(1)


@pytest.mark.parametrize("tune", TUNES)
def test_what_starts_untrained_learns_at_the_full_rate(tune, tmp_path):
    cfg = apply_domino(small(ready("dinov2-s", tune), "dinov2-s", tmp_path))
    model = MODELS.build(cfg.model)
    groups = parameter_groups(model, lr=1.0, weight_decay=0.5, **cfg.optim_wrapper.paramwise_cfg)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        new = not name.startswith("backbone.") or "domain." in name or ".lora_" in name
        expected = (1.0 if new else 0.1) if parameter.requires_grad else None
        assert rate.get(id(parameter)) == expected, name


#: How the published file of a stock backbone wraps its parameters.
FILES = {
    "r50": lambda state: {"meta": {}, "state_dict": {**state, "fc.weight": torch.zeros(3, 3)}},
    "mit-b5": lambda state: {**state, "head.weight": torch.zeros(3, 3)},
    "swin-l": lambda state: {"state_dict": {**state, "head.weight": torch.zeros(3, 3)}},
    "convnext-l": lambda state: {
        "state_dict": {
            **{f"backbone.{k}": v for k, v in state.items()},
            "head.fc.weight": torch.zeros(3, 3),
        }
    },
}


@pytest.mark.parametrize("tune", ["full", "lora"])
@pytest.mark.parametrize("name", FILES)
def test_published_files_of_stock_backbones_are_read(name, tune, tmp_path):
    init_cfg = copy.deepcopy(ready(name).model.backbone.init_cfg)
    backbone = small(ready(name, tune), name, tmp_path).model.backbone
    published = MODELS.build(backbone).state_dict()
    for value in published.values():
        if value.is_floating_point():
            value.add_(torch.randn(value.shape) * 0.1)
    init_cfg["checkpoint"] = str(tmp_path / "published.pth")
    torch.save(FILES[name](published), init_cfg["checkpoint"])
    cfg = small(ready(name, tune), name, tmp_path)
    cfg.model.backbone.init_cfg = init_cfg
    model = MODELS.build(apply_domino(cfg).model)
    model.init_weights()
    wrapped = model.backbone
    state = wrapped.state_dict()
    for key, value in published.items():
        assert torch.equal(state[key], value), key
    assert not wrapped.domain.modulation.out.weight.any()


def test_pixels_are_normalised_as_the_published_model_was_trained():
    import open_clip
    import timm

    for name in TRUE_SIZE:
        model = ready(name).model
        if model.backbone.type == "TimmViT":
            published = timm.get_pretrained_cfg(model.backbone.model)
            mean, std = published.mean, published.std
        elif model.backbone.type == "OpenClipViT":
            tag = open_clip.get_pretrained_cfg(model.backbone.model, model.backbone.weights)
            mean, std = tag["mean"], tag["std"]
        else:
            mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        pixels = model.data_preprocessor
        assert pixels.mean == pytest.approx([255 * v for v in mean], abs=1e-3), name
        assert pixels.std == pytest.approx([255 * v for v in std], abs=1e-3), name
        assert pixels.bgr_to_rgb
