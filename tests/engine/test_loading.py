"""A model gets all of its weights, or an error that lists what does not fit."""

import copy
import json
from dataclasses import asdict

import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import nn

from mmseg_domino import engine
from mmseg_domino.apps.inference import init_domino_model
from mmseg_domino.apps.synthesis import load_segmentor
from mmseg_domino.engine import CheckpointMismatchError, NonFiniteWeightsError, load_weights
from mmseg_domino.engine.hooks import FiniteWeightsHook
from mmseg_domino.models.adapters.frozen_state import keep_out_frozen
from tests.small_domino import write_small_domino
from tests.tiny_clip import write_tiny_clip


class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, classes)


def test_what_fits_is_loaded_and_reported(tmp_path):
    path = tmp_path / "a.pth"
    source, model = Net(), Net()
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    _, report = engine.read_and_load(model, path)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())
    assert (report.loaded, report.frozen, report.new) == (9, 0, 0)
    import hashlib

    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(report) == f"9 tensors from {path} (sha256 {report.sha256[:12]})"
    json.dumps(asdict(report))


def without(state, prefix):
    return {k: v for k, v in state.items() if not k.startswith(prefix)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "head"), r"Missing \(2\): head\.weight, head\.bias"),
        (lambda s: without(s, "backbone.1.running"), r"Missing \(2\): backbone\.1\.running_mean"),
        (lambda s: {**s, "x.y": torch.ones(1)}, r"Unknown to the model \(1\): x\.y"),
        (
            lambda s: {"segmentor." + k: v for k, v in s.items()},
            r"No key fits: .* begin with 'segmentor\.', those of the model with backbone, head",
        ),
        (
            lambda s: Net(11).state_dict() | {"backbone.0.bias": s["backbone.0.bias"]},
            r"another shape \(2\): head\.weight \(found \(11, 4\), expected \(5, 4\)\)",
        ),
        (lambda s: {"meta": 3}, "holds no weights"),
    ],
)
def test_what_does_not_fit_is_listed(change, message):
    model = Net()
    with pytest.raises(CheckpointMismatchError, match=message) as error:
        load_weights(model, {"state_dict": change(model.state_dict())}, "a.pth")
    assert "a.pth" in str(error.value)


def test_other_kinds_of_file_are_no_checkpoints():
    for content in ([1], {"state_dict": [1]}, {}):
        with pytest.raises(CheckpointMismatchError, match=r"a\.pth holds no"):
            load_weights(Net(), content, "a.pth")


def test_new_parts_are_named_and_exact():
    state, model = Net(11).state_dict(), Net()
    head = model.head.weight.clone()
    with pytest.raises(
        CheckpointMismatchError, match=r"new_parts=\['head\.weight', 'head\.bias'\]"
    ):
        load_weights(model, state, "a.pth")
    report = load_weights(model, state, "a.pth", ["head"])
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.backbone[0].weight, state["backbone.0.weight"])
    assert (report.loaded, report.new, report.new_parts) == (7, 2, ("head",))
    assert "2 begin untrained (head)" in str(report)
    with pytest.raises(CheckpointMismatchError, match="'hed', and nothing in the model begins so"):
        load_weights(model, state, "a.pth", ["hed"])
    with pytest.raises(CheckpointMismatchError, match=r"Missing \(1\): backbone\.0\.bias"):
        load_weights(model, without(state, "backbone.0.bias"), "a.pth", ["head"])


def test_frozen_weights_may_be_left_out_where_the_model_does_so():
    torch.manual_seed(0)
    model = Net()
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    whole = copy.deepcopy(model.state_dict())
    keep_out_frozen(model.backbone, save_frozen=False)
    small = copy.deepcopy(model.state_dict())
    assert "backbone.0.weight" not in small
    report = load_weights(model, {"state_dict": small}, "a.pth")
    assert report.frozen == 4
    assert "4 frozen ones are not in it" in str(report)
    assert load_weights(model, {"state_dict": whole}, "a.pth").frozen == 0
    with pytest.raises(CheckpointMismatchError, match=r"Missing .*backbone\.0\.weight"):
        load_weights(model, {k: v for k, v in small.items() if "fingerprint" not in k}, "a.pth")


def test_wrapped_models_are_served():
    class Averaging(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return data_samples_list

    inner = Net()
    inner.test_step = None
    load_weights(Averaging(inner), Net().state_dict(), "a.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_mean_nothing_are_refused(value):
    state = Net().state_dict()
    state["backbone.1.running_var"][2] = value
    with pytest.raises(NonFiniteWeightsError, match=r"a\.pth .*infinite: backbone\.1\.running_var"):
        load_weights(Net(), state, "a.pth")


@pytest.fixture(scope="module")
def domino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("domino")
    clip = write_tiny_clip(folder / "clip")
    return write_small_domino(folder, f"local-dir:{clip}")


@pytest.mark.parametrize("lost", ["decode_head", "neck.norms"])
def test_apps_refuse_what_lacks_a_part(domino, lost, tmp_path):
    config, checkpoint = map(str, domino)
    content = torch.load(checkpoint, weights_only=True)
    assert init_domino_model(config, checkpoint).dataset_meta["classes"][0] == "road"
    content["state_dict"] = without(content["state_dict"], lost)
    torch.save(content, tmp_path / "part.pth")
    for load in (init_domino_model, lambda *a: load_segmentor(*a, 3)):
        with pytest.raises(CheckpointMismatchError, match=lost):
            load(config, str(tmp_path / "part.pth"))


@pytest.fixture
def small(small_config, small_run):
    """A function that gives the small training's config, and a checkpoint of it."""
    return small_config, small_run / "iter_1.pth"


def changed(checkpoint, folder, change):
    content = torch.load(checkpoint, weights_only=False)
    content["state_dict"] = change(content["state_dict"])
    path = folder / "changed.pth"
    torch.save(content, path)
    return str(path)


def test_a_test_says_what_it_loaded(small, tmp_path):
    config, checkpoint = small
    cfg = config(tmp_path, load_from=str(checkpoint))
    engine.record_results(cfg, str(checkpoint))
    assert engine.build_runner(cfg).test()
    weights = json.loads((tmp_path / "results.json").read_text())["run"]["weights"]
    assert weights["loaded"] == len(torch.load(checkpoint, weights_only=False)["state_dict"])
    assert weights["source"] == str(checkpoint)
    assert len(weights["sha256"]) == 64


def test_test_training_and_resuming_are_strict(small, tmp_path):
    config, checkpoint = small
    part = changed(checkpoint, tmp_path, lambda s: without(s, "decode_head.conv_seg"))
    match = r"Missing \(2\): decode_head\.conv_seg\.weight"
    with pytest.raises(CheckpointMismatchError, match=match):
        engine.build_runner(config(tmp_path, load_from=part)).test()
    with pytest.raises(CheckpointMismatchError, match=match):
        engine.build_runner(config(tmp_path, load_from=part)).train()
    parts = {"load_from": part, "new_parts": ["decode_head.conv_seg"]}
    for refused in ({"resume": True}, {}):
        runner = engine.build_runner(config(tmp_path, **parts, **refused))
        with pytest.raises(CheckpointMismatchError, match=match):
            runner.train() if refused else runner.test()
    runner = engine.build_runner(config(tmp_path, **parts, **{"train_cfg.max_iters": 1}))
    runner.train()
    assert runner.load_report.new == 2


def test_a_diverged_training_stops_and_keeps_its_last_checkpoint(small, tmp_path):
    config, checkpoint = small
    cfg = config(tmp_path, **{"optim_wrapper.optimizer.lr": 1e30})
    runner = engine.build_runner(cfg)
    with pytest.raises(NonFiniteWeightsError, match=r"iteration \d.*infinite.*lower learning rate"):
        runner.train()
    left = list(tmp_path.glob("iter_*.pth"))
    assert len(left) <= 1
    for path in left:
        state = torch.load(path, weights_only=False)["state_dict"]
        assert all(v.isfinite().all() for v in state.values())
    nan = changed(checkpoint, tmp_path, lambda s: {k: v * float("nan") for k, v in s.items()})
    with pytest.raises(NonFiniteWeightsError, match=r"changed\.pth"):
        engine.build_runner(config(tmp_path, load_from=nan)).test()


def test_a_step_that_overflows_alone_does_not_stop_training():
    class Runner:
        model, iter = Net(), 3

    hook = FiniteWeightsHook()
    hook.after_train_iter(Runner, 0, outputs={"loss": torch.tensor(float("inf"))})
    torch.nn.init.constant_(Runner.model.head.weight, float("nan"))
    hook.after_train_iter(Runner, 0, outputs={"loss": torch.tensor(1.0)})
    with pytest.raises(NonFiniteWeightsError, match=r"after iteration 4 \(loss inf\)"):
        hook.after_train_iter(Runner, 0, outputs={"loss": torch.tensor(float("inf"))})
