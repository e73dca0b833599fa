"""Every adapter with averaged weights, accumulated gradients and mixed precision; resumed."""

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_domino import engine
from mmseg_domino.models.adapters.frozen_state import FINGERPRINT

from ..models.adapters.originals import DINOV2, random_vit

ADAPTERS = {
    "lora": dict(rank=2),
    "rein": dict(token_length=4, rank=2),
    "soma": dict(rank=2, start_block=1),
}


@pytest.fixture(scope="module")
def backbone_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "dinov2.pth"
    torch.save(random_vit(DINOV2, patch=14, side=37), path)
    return str(path)


@pytest.fixture
def config(small_config, backbone_file):
    """A function: work folder and tune -> the small training with an adapter, EMA from step 2."""

    def make(folder, tune, iterations=4, **changes):
        cfg = small_config(folder, **{"train_cfg.max_iters": iterations, **changes})
        sizes = ("embed_dim", "depth", "num_heads", "img_size", "patch_size")
        vit = dict(type="TimmViT", model="vit_large_patch14_dinov2", weights=backbone_file,
                   resampling="bicubic", options={k: DINOV2[k] for k in sizes})  # fmt: skip
        cfg.model.type = "DominoEncoderDecoder"
        cfg.model.backbone = dict(
            type="DominoBackbone", backbone=vit, domain_channels=3, injection="none", tune=tune,
            adapter=ADAPTERS[tune], save_frozen=False,
        )  # fmt: skip
        cfg.model.decode_head.update(in_channels=DINOV2["embed_dim"], in_index=3)
        cfg.optim_wrapper = dict(type="CPUAmpOptimWrapper", accumulative_counts=2,
                                 optimizer=dict(type="AdamW", lr=0.01))  # fmt: skip
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type="EMAHook", begin_iter=2, momentum=0.3)]
        cfg.default_hooks.checkpoint.max_keep_ckpts = 5
        return cfg

    return make


def same(one, other):
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("tune", ADAPTERS)
def test_a_resumed_training_with_averaged_adapters_is_exact(tune, config, tmp_path):
    engine.build_runner(config(tmp_path / "whole", tune)).train()
    engine.build_runner(config(tmp_path / "cut", tune, iterations=2)).train()
    resumed = config(tmp_path / "cut", tune)
    resumed.resume = True
    engine.build_runner(resumed).train()
    files = [tmp_path / name / "iter_4.pth" for name in ("whole", "cut")]
    whole, again = (torch.load(path, weights_only=False) for path in files)
    for key in ("state_dict", "ema_state_dict"):
        assert same(dict(whole[key]), dict(again[key]))
    assert same(whole["optimizer"]["state"], again["optimizer"]["state"])

    # Both hold the adapters, no frozen weight, and are not the same.
    averaged, plain = whole["state_dict"], whole["ema_state_dict"]
    mark = ".reins." if tune == "rein" else ".lora_"
    adapters = [key for key in averaged if mark in key]
    assert adapters
    assert f"backbone.{FINGERPRINT}" in averaged
    assert not any("patch_embed" in key for key in (*averaged, *plain))
    assert any(not torch.equal(averaged[k], plain[f"module.{k}"]) for k in adapters)

    # One of before the averaging begins loads too, over the same frozen weights.
    engine.read_and_load(
        MODELS.build(config(tmp_path / "a", tune).model), files[0].with_name("iter_1.pth")
    )
    # A model for testing gets the averaged ones, over the same frozen weights.
    model = MODELS.build(config(tmp_path / "test", tune).model)
    engine.read_and_load(model, files[0])
    state = model.state_dict()
    assert all(torch.equal(state[k], averaged[k]) for k in adapters)
    assert model.backbone.backbone.vit.patch_embed.proj.weight.std() > 0.01


def test_what_is_averaged_has_the_frozen_weights_before_it_begins(config, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.AveragingHook, "after_train_iter", lambda *args, **kwargs: None)
    runner = engine.build_runner(config(tmp_path, "soma", iterations=2))
    runner.train()
    hook = next(h for h in runner.hooks if isinstance(h, engine.AveragingHook))
    pairs = zip(hook.ema_model.module.parameters(), runner.model.parameters(), strict=True)
    frozen = [(averaged, own) for averaged, own in pairs if not own.requires_grad]
    assert len(frozen) > 20
    assert all(torch.equal(*pair) for pair in frozen)
