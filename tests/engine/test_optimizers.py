"""Optimiser groups against MMEngine's own, which fall into both traps."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import DefaultOptimWrapperConstructor
from torch import nn

from mmseg_domino.engine import parameter_groups

from ..models.diffusion.vpd_models import make_vpd

LR, DECAY = 8e-5, 1e-3
NORMS = (nn.GroupNorm, nn.LayerNorm)


class Model(nn.Module):
    """What a segmentor's parameters look like: backbone, a norm and a head."""

    def __init__(self, **kwargs):
        super().__init__()
        self.backbone = make_vpd(count=3, **kwargs)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))


@pytest.fixture(scope="module")
def model():
    return Model()


def by_name(model, groups):
    """``{parameter's name: (lr, decay, group's name)}``."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (g["lr"], g["weight_decay"], g.get("name"))
        for g in groups
        for p in g["params"]
    }


def norm_names(model):
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, (*NORMS, nn.BatchNorm2d))
        for own, _ in module.named_parameters(recurse=False)
    }


def ours(model, **kwargs):
    return parameter_groups(model, LR, DECAY, {"backbone.unet": 0.1}, **kwargs)


def mmengines(model):
    """VPD's settings as its config has them, by MMEngine."""
    constructor = DefaultOptimWrapperConstructor(
        dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY)),
        dict(custom_keys={"unet": dict(lr_mult=0.1), "vae": dict(lr_mult=0.0),
                          "norm": dict(decay_mult=0.0)}),
    )  # fmt: skip
    return by_name(model, constructor(model).optimizer.param_groups)


# Two transformer norms and two of a residual layer: the traps.
TRANSFORMER = "backbone.unet.down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight"
RESIDUAL = "backbone.unet.down_blocks.0.resnets.0.norm1.weight"


def test_norms_of_the_unet_train_at_the_unets_rate(model):
    """Trap one: the key `norm` beats the key `unet`, and the norms train ten times too fast."""
    assert mmengines(model)[TRANSFORMER][0] == LR
    groups = by_name(model, ours(model))
    assert groups[TRANSFORMER][:2] == (pytest.approx(LR * 0.1), 0.0)
    rates = {n: g[0] for n, g in groups.items() if n.startswith("backbone.unet.")}
    assert set(rates) == {n for n, _ in model.named_parameters() if n.startswith("backbone.unet.")}
    assert list(rates.values()) == pytest.approx([LR * 0.1] * len(rates))


def test_norms_are_told_by_their_type_and_not_their_name(model):
    """Trap two: `norm1` in diffusers' residual layers was `in_layers.0` in the original."""
    assert mmengines(model)[RESIDUAL][0] == LR
    groups = by_name(model, ours(model))
    no_decay = {n for n, g in groups.items() if g[1] == 0}
    assert no_decay == norm_names(model) - {n for n in norm_names(model) if ".vae." in n}
    assert "head.1.weight" in no_decay

    class Named(nn.Module):
        def __init__(self, norm, linear):
            super().__init__()
            setattr(self, norm, nn.GroupNorm(1, 4))
            setattr(self, linear, nn.Linear(4, 4))

    for norm, linear in (("norm1", "proj"), ("in_layers", "norm_proj")):
        named = Named(norm, linear)
        decays = {n: g[1] for n, g in by_name(named, parameter_groups(named, LR, DECAY)).items()}
        assert decays[f"{norm}.weight"] == 0
        assert decays[f"{linear}.weight"] == DECAY


def test_everything_trained_is_in_exactly_one_group(model):
    groups = ours(model)
    params = [p for g in groups for p in g["params"]]
    assert len({id(p) for p in params}) == len(params)
    assert {id(p) for p in params} == {id(p) for p in model.parameters() if p.requires_grad}
    assert [g["name"] for g in groups] == [
        "rest", "rest (norms)", "backbone.unet", "backbone.unet (norms)",
    ]  # fmt: skip
    assert not any(n.startswith("backbone.vae.") for n in by_name(model, groups))


@pytest.mark.parametrize("tune", ["frozen", "lora", "norms"])
def test_frozen_parameters_are_in_none(tune):
    model = Model(tune=tune)
    groups = by_name(model, parameter_groups(model, LR, DECAY))
    assert set(groups) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_prefixes_are_whole_parts_and_the_longest_counts():
    model = nn.ModuleDict({"net": nn.Linear(2, 2), "network": nn.Linear(2, 2)})
    lr_mult = {"net": 0.5, "net.bias": 0.0}
    groups = by_name(model, parameter_groups(model, 1.0, 0.0, lr_mult))
    assert {n: g[0] for n, g in groups.items()} == {
        "net.weight": 0.5, "network.weight": 1.0, "network.bias": 1.0,
    }  # fmt: skip


def test_a_prefix_that_fits_nothing_is_no_choice(model):
    with pytest.raises(ValueError, match=r"lr_mult names \['unet'\], which begin no parameter's"):
        parameter_groups(model, LR, DECAY, {"unet": 0.1})


def test_adapters_may_train_at_the_base_rate():
    model = Model(tune="lora")
    groups = by_name(model, ours(model, new=r"\.lora_"))
    adapters = {n: g for n, g in groups.items() if ".lora_" in n}
    assert adapters
    assert {(g[0], g[2]) for g in adapters.values()} == {(LR, "new")}


def test_norms_may_decay(model):
    groups = by_name(model, ours(model, norm_decay_mult=0.5))
    assert groups[RESIDUAL][1] == DECAY / 2


def test_the_groups_are_logged_as_a_table_when_training_starts(model, tmp_path):
    log = tmp_path / "train.log"
    MMLogger.get_instance("optimizer_table", log_file=str(log), log_level="INFO")
    wrapper = build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            constructor="DominoOptimWrapperConstructor",
            optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY),
            paramwise_cfg=dict(lr_mult={"backbone.unet": 0.1}),
        ),
    )
    lines = [line for line in log.read_text().splitlines() if line.startswith("backbone.unet")]
    count = sum(p.numel() for p in model.backbone.unet.parameters())
    norms = sum(p.numel() for n, p in model.named_parameters() if n in norm_names(model)
                and n.startswith("backbone.unet."))  # fmt: skip
    tensors = [str(len(group["params"])) for group in wrapper.optimizer.param_groups[2:]]
    assert [line.split()[-4:] for line in lines] == [
        [tensors[0], f"{count - norms:,}", "8e-06", "0.001"],
        [tensors[1], f"{norms:,}", "8e-06", "0"],
    ]  # fmt: skip
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)


def test_unknown_settings_are_refused():
    with pytest.raises(
        ValueError, match=r"unknown options \['custom_keys'\] in `paramwise_cfg`; valid: lr_mult"
    ):
        build_optim_wrapper(
            nn.Linear(1, 1),
            dict(
                type="OptimWrapper",
                constructor="DominoOptimWrapperConstructor",
                optimizer=dict(type="AdamW", lr=LR),
                paramwise_cfg=dict(custom_keys={}),
            ),
        )


def test_decay_by_prefix_is_a_group_of_its_own(model):
    found = by_name(model, ours(model, decay_mult={"head.0": 0.0}))
    assert found["head.0.weight"] == (LR, 0, "rest (decay x0)")
    assert found["head.1.weight"] == (LR, 0, "rest (norms)")
    assert {d for n, (_, d, _) in found.items() if n.startswith("backbone.context")} == {DECAY}
    with pytest.raises(ValueError, match=r"decay_mult names \['neck'\], which begin no parameter"):
        ours(model, decay_mult={"neck": 0.0})
