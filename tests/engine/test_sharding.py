"""Two processes that share the weights against two that have them whole, and after a kill."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from mmseg_domino.engine import FullyShard
from mmseg_domino.engine.sharding import whole_checkpoints

from ..models.diffusion.vpd_models import ARCHITECTURE, UNET, make_vpd
from ..small_training import write_small_training

ROOT = Path(__file__).parents[2]
#: PyTorch 2.6 shards on cards only.
ON_CPU = hasattr(torch.cpu.Stream, "record_event")
in_processes = pytest.mark.skipif(not ON_CPU, reason="this PyTorch shards on cards only")
WIDTH = UNET["cross_attention_dim"]
CONFIG = f"""
_base_ = "config.py"
channels = {[c + 3 * (i in (1, 2)) for i, c in enumerate(UNET["block_out_channels"])]}
model = dict(
    _delete_=True, type="DominoEncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[127.5] * 3, std=[127.5] * 3,
                           size=(64, 64), seg_pad_val=255),
    backbone=dict(
        type="DominoVPD", weights=dict(name="random", architecture={ARCHITECTURE!r}),
        classes=dict(count=3), domain_channels={WIDTH}, norms="all",
        execution=dict(channels_last=True, checkpointing=True)),
    neck=dict(type="FPN", in_channels=channels, out_channels=8, num_outs=4),
    decode_head=dict(type="FPNHead", in_channels=[8] * 4, in_index=[0, 1, 2, 3], channels=8,
                     feature_strides=[8, 16, 32, 64], num_classes=3, dropout_ratio=0,
                     norm_cfg=dict(type="GN", num_groups=2)),
    test_cfg=dict(mode="whole"),
)
custom_imports = dict(imports=["mmseg_domino.plugin", "embedded"], allow_failed_imports=False)
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset={{{{_base_.dataset}}}})
val_evaluator = dict(type="IoUMetric")
val_cfg = dict(type="ValLoop")
train_cfg = dict(val_interval=2)
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", constructor="DominoOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-3), clip_grad=dict(max_norm=0.1),
    paramwise_cfg=dict(lr_mult={{"backbone.unet": 0.1}}))
custom_hooks = [dict(type="SeedIterationHook"), dict(type="Kill")]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=9))
"""
EMBED = """
import os
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmseg.registry import HOOKS, TRANSFORMS

@TRANSFORMS.register_module()
class Embed(BaseTransform):
    def __init__(self, width):
        self.width = width

    def transform(self, results):
        results["domain_embedding"] = torch.linspace(-1, 1, self.width).numpy()
        return results

@HOOKS.register_module()
class Kill(Hook):
    priority = "VERY_HIGH"  # before the third checkpoint

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2 and "KILL" in os.environ:
            os._exit(9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharding")
    base = write_small_training(folder)
    label = 'dict(type="LoadAnnotations"),'
    embedded = f'{label} dict(type="Embed", width={WIDTH}),'
    base.write_text(base.read_text().replace(label, embedded))
    (folder / "model.py").write_text(CONFIG)
    (folder / "embedded.py").write_text(EMBED)
    return folder


def run(folder, task, work_dir, *arguments, wrapper="FullyShard", processes=2, **options):
    """``domino train`` or ``test``, done, in processes that find each other by gloo."""
    options = {"model_wrapper_cfg.type": wrapper, **options}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [
        "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port",
        str(port), "-m", "mmseg_domino", task, str(folder / "model.py"), "--launcher", "pytorch",
        "--work-dir", str(folder / work_dir), *arguments, "--cfg-options",
        *(f"{k}={v}" for k, v in options.items()),
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=600, cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
    )  # fmt: skip


def finished(folder, work_dir, *arguments, **options):
    """The last checkpoint of a training."""
    done = run(folder, "train", work_dir, *arguments, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return torch.load(folder / work_dir / "iter_4.pth", weights_only=False)


@pytest.fixture(scope="module")
def sharded(folder):
    return finished(folder, "sharded")


def assert_same(ours, expected, **tolerance):
    """Compare two checkpoints: weights and optimiser."""
    states = [c["optimizer"]["state"] for c in (ours, expected)]
    tensors = [
        {**c["state_dict"], **{f"{i} {k}": v for i, s in state.items() for k, v in s.items()}}
        for c, state in zip((ours, expected), states, strict=True)
    ]
    assert list(tensors[0]) == list(tensors[1])
    for name, value in tensors[1].items():
        assert type(tensors[0][name]) is torch.Tensor, name
        torch.testing.assert_close(
            tensors[0][name], value, msg=lambda m, n=name: f"{n}: {m}", **tolerance
        )


@pytest.mark.slow
@in_processes
def test_it_trains_as_whole_weights_do(folder, sharded):
    start = torch.load(folder / "sharded" / "iter_1.pth", weights_only=False)["state_dict"]
    assert sum(not torch.equal(start[k], v) for k, v in sharded["state_dict"].items()) > 200
    whole = finished(folder, "whole", wrapper="MMDistributedDataParallel")
    assert_same(sharded, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@in_processes
def test_a_killed_and_resumed_training_ends_with_the_same_weights(folder, sharded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("KILL", "1")
        killed = run(folder, "train", "killed")
    assert killed.returncode != 0
    assert sorted(p.name for p in (folder / "killed").glob("iter_*")) == [
        "iter_1.pth",
        "iter_2.pth",
    ]
    assert_same(finished(folder, "killed", "--resume"), sharded, rtol=0, atol=0)


@pytest.mark.slow
@in_processes
def test_its_checkpoint_goes_on_in_one_process_that_has_all_weights(folder, sharded):
    (folder / "alone").mkdir()
    (folder / "alone" / "iter_2.pth").hardlink_to(folder / "sharded" / "iter_2.pth")
    alone = finished(folder, "alone", "--resume", processes=1, wrapper="MMDistributedDataParallel")
    assert list(alone["state_dict"]) == list(sharded["state_dict"])


@pytest.mark.slow
@in_processes
def test_it_is_tested_as_whole_weights_are(folder, sharded):
    results = []
    for wrapper, processes in (("FullyShard", 2), ("MMDistributedDataParallel", 1)):
        done = run(
            folder, "test", f"test-{processes}", str(folder / "sharded" / "iter_4.pth"),
            wrapper=wrapper, processes=processes,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        results.append(json.loads((folder / f"test-{processes}" / "results.json").read_text()))
    assert results[0]["groups"] == results[1]["groups"]


@pytest.mark.skipif(ON_CPU, reason="this PyTorch shards on a CPU")
def test_a_cpu_is_refused_where_it_cannot_shard():
    with whole_checkpoints(), pytest.raises(RuntimeError, match="shards models on GPUs only"):
        FullyShard(nn.Linear(2, 2), units=["Linear"])


def test_a_model_without_such_parts_is_refused():
    with (
        whole_checkpoints(),
        pytest.raises(ValueError, match="Linear has no part of the classes ResnetBlock2D"),
    ):
        FullyShard(nn.Linear(2, 2))


def test_a_model_that_leaves_out_frozen_weights_is_refused():
    with whole_checkpoints(), pytest.raises(ValueError, match="set save_frozen=True"):
        FullyShard(
            make_vpd(classes=dict(count=3), tune="lora", injection="none", save_frozen=False)
        )


def test_a_runner_that_would_save_shares_is_refused():
    """MMEngine's own, in one of several processes."""
    runner = object.__new__(Runner)
    runner._distributed, runner.cfg = True, Config()
    with pytest.raises(RuntimeError, match="FullyShard needs DominoRunner"):
        runner.wrap_model(dict(type="FullyShard"), nn.Linear(2, 2))
