"""The recipes: what they say, what they train at true size, and that each trains."""

import copy
import re
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino import engine

from .models.adapters.originals import head_config
from .small_training import write_small_training
from .test_backbone_configs import Meta
from .test_stock_configs import walk
from .tiny_clip import write_tiny_clip

pytest.importorskip("mmdet")
CONFIGS = Path(__file__).parents[1] / "configs"
FILES = {p.stem: p for p in sorted((CONFIGS / "recipes").glob("*.py"))}
#: Of each method one is trained whenever the tests run, with Domino and without.
QUICK = {
    ("soma_dinov2-l_4xb2-40k_cityscapes-512x512", True),
    ("rein_dinov2-l_1xb4-40k_gta5-synthia-512x512", False),
}
VIT = dict(embed_dim=16, depth=4, num_heads=2)
WIDTH, QUERIES = 16, 7


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Images with labels, and a CLIP for them."""
    folder = tmp_path_factory.mktemp("world")
    write_small_training(folder)
    return folder, write_tiny_clip(folder / "clip")


@cache
def read(name):
    return Config.fromfile(FILES[name])


def small(name, folder, domino, world):
    """The recipe at reduced width, on small images, for 20 iterations."""
    cfg, (data, clip) = copy.deepcopy(read(name)), world
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    own = dict(patch_size=16, img_size=64) if backbone.resampling == "bicubic" else {}
    options = {**VIT, **own, **({"img_size": 56} if "eva02" in name else {})}
    backbone.update(weights=None, out_indices=(0, 1, 2, 3), options=dict(options))
    reduced, _ = head_config(WIDTH, 19, QUERIES, 16)
    train_cfg = dict(head.train_cfg, num_points=32)
    cfg.model.decode_head = dict(reduced, type=head.type, train_cfg=train_cfg)
    adapter = dict(rein=dict(token_length=QUERIES, rank=2, query_dims=WIDTH),
                   soma=dict(rank=2, start_block=1))  # fmt: skip
    cfg.merge_from_dict({"domino.backbone.adapter": adapter.get(name.split("_")[0])})
    cfg.model.data_preprocessor.size = (64, 64)
    cfg.model.test_cfg = dict(mode="whole")
    first = cfg.train_dataloader.dataset
    steps = first.datasets[0].pipeline if "datasets" in first else first.pipeline
    for step in steps:
        if step.type == "RandomChoiceResize":
            step.update(scales=[32, 48, 64], max_size=128)
        elif step.type == "RandomCrop":
            step.crop_size = (64, 64)
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type="FolderDataset", data_root=str(data / "data"), dataset_name="small", domain="day",
        pipeline=steps,
    )  # fmt: skip
    for split in ("val", "test"):
        cfg.update({f"{split}_{part}": None for part in ("dataloader", "evaluator", "cfg")})
    cfg.train_cfg.max_iters = 20
    for hook in cfg.custom_hooks:
        if hook.type == "EMAHook":
            hook.begin_iter = 10
    cfg.domino.update(encoder=dict(model=str(clip), bank="acdc"), domain_channels=16)
    if domino:  # the line of the documentation, with embeddings that no store is needed for
        cfg.merge_from_dict({"domino.encode": "pipeline", "domino.backbone.injection": "subtract"})
    cfg.default_hooks.checkpoint.interval = 20
    return engine.load_config(cfg, str(folder))


@pytest.mark.parametrize(
    ("name", "domino"),
    [
        pytest.param(n, d, marks=[] if (n, d) in QUICK else pytest.mark.slow, id=f"{n}-{d}")
        for n in FILES
        for d in (False, True)
    ],
)
def test_each_recipe_trains_20_iterations(name, domino, tmp_path, world):
    runner = engine.build_runner(small(name, tmp_path, domino, world))
    runner.train()
    model, optimizer = runner.model, runner.optim_wrapper.optimizer
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    method = name.split("_")[0]
    inside = {"rein": r"backbone\.(reins|domain)\.", "soma": r"lora_|bias$|\.domain\."}
    if method in inside:
        ours = [n for n in trained if n.startswith("backbone.")]
        assert ours
        assert all(re.search(inside[method], n) for n in ours)
    assert any(".domain." in n for n in trained) == domino
    for n, parameter in trained.items():
        assert parameter.isfinite().all(), n
        assert optimizer.state[parameter]["exp_avg"].any(), f"{n} got no gradient"
    log = next(tmp_path.rglob("*.log")).read_text()
    assert "parameter groups of the optimiser" in log
    assert "recipe:" in log
    stored = torch.load(tmp_path / "iter_20.pth", weights_only=False)
    assert ("ema_state_dict" in stored) == ("EMAHook" in log)
    if method != "vltseg":
        assert not any("backbone.vit.patch_embed" in key for key in stored["state_dict"])


#: Of the papers and the authors' files: iterations of warm-up, averaging from, side of the crop,
#: stride of the test's windows, short side that is scaled by 0.5 to 2.
SAID = {
    "soma_dinov2-l_4xb2-40k_cityscapes-512x512": (10000, 20000, 512, 341, 1024),
    "soma_dinov2-l_4xb2-40k_cityscapes-1024x1024": (10000, 20000, 1024, 683, 1024),
    "soma_dinov2-l_4xb4-40k_gta5-512x512": (0, 12000, 512, 341, 512),
    "soma_dinov2-l_4xb4-40k_gta5-synthia-urbansyn-1024x1024": (0, 16000, 1024, 683, 1024),
    "rein_dinov2-l_1xb4-40k_gta5-512x512": (0, None, 512, 341, 512),
    "rein_dinov2-l_4xb2-40k_cityscapes-1024x1024": (10000, None, 1024, 683, 1024),
    "soma_dinov3-l_4xb2-40k_cityscapes-1024x1024": (15000, 20000, 1024, 683, 1024),
}


@pytest.mark.parametrize("name", SAID)
def test_a_recipe_says_what_its_original_does(name):
    cfg = read(name)
    warm_up, averaged, crop, stride, short = SAID[name]
    schedules = {s.type: s for s in cfg.param_scheduler}
    assert schedules["PolyLR"].power == 0.9
    assert (schedules["PolyLR"].begin, schedules["PolyLR"].end) == (warm_up, 40000)
    assert ("LinearLR" in schedules) == bool(warm_up)
    annealed = schedules.get("CosineAnnealingParamScheduler")
    assert (annealed is not None) == name.startswith("soma")
    if annealed is not None:
        assert (annealed.param_name, annealed.eta_min) == ("weight_decay", 1e-5)
        assert cfg.optim_wrapper.paramwise_cfg.lr_mult == {"backbone": 0.5}
    hooks = [h for h in cfg.custom_hooks if h.type == "EMAHook"]
    assert [h.begin_iter for h in hooks] == ([averaged] if averaged else [])
    assert tuple(cfg.model.test_cfg.stride) == (stride, stride)
    assert tuple(cfg.model.data_preprocessor.size) == (crop, crop)
    steps = [n for n in walk(cfg.train_dataloader.dataset.to_dict()) if "type" in n]
    resize = next(n for n in steps if n["type"] == "RandomChoiceResize")
    assert resize["scales"] == [int(short * x * 0.1) for x in range(5, 21)]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-4, 0.05)
    assert cfg.train_cfg.max_iters == 40000


@pytest.mark.parametrize(
    ("name", "millions"),
    [("rein_dinov2-l_1xb4-40k_gta5-512x512", 2.99), ("soma_dinov2-l_4xb4-40k_gta5-512x512", 4.87)],
)
def test_as_many_parameters_of_the_backbone_are_trained_as_in_the_paper(name, millions):
    cfg = engine.apply_domino(copy.deepcopy(read(name)))
    cfg.model.backbone.backbone.weights = None
    with torch.device("meta"), Meta():
        backbone = MODELS.build(cfg.model.backbone)
    trained = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    assert trained / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("name", ["dinov2-l", "dinov3-l", "eva02-clip-l"])
def test_the_pretrained_weights_are_published(name):
    cfg = Config.fromfile(CONFIGS / "_base_" / "models" / f"mask2former_{name}.py")
    assert cfg.model.backbone.model in timm.list_models(pretrained=True)
