"""``domino train`` and ``test`` in processes of their own, on a small street world."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import mmseg
import pytest
import torch

from mmseg_domino.cli import main
from street_world import prepare
from tests.processes import run_domino_twice, start_domino

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "domino_vpd_mini.py"
DOMINO = [sys.executable, "-m", "mmseg_domino"]
STEPS = 4
SHORT = [
    f"train_cfg.max_iters={STEPS}", "train_cfg.val_interval=100", "test_evaluator.intervals=False",
    "default_hooks.checkpoint.interval=2", "default_hooks.checkpoint.max_keep_ckpts=10",
    "default_hooks.logger.interval=1", "train_dataloader.batch_size=2",
    "train_dataloader.num_workers=1",
    "val_dataloader=None", "val_cfg=None", "val_evaluator=None",
]  # fmt: skip


def environment():
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    env["PYTHONPATH"] = str(ROOT)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return env


def run(command, cwd, check=True):
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment(), capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def run_here(cwd, *arguments):
    """``domino ARGUMENTS`` in this process, which has imported everything: exit code and output."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(cwd)
        with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments], prog_name="domino")
    return end.value.code, said.getvalue()


def training(work_dir, *arguments):
    return ["train", CONFIG, "--work-dir", work_dir, *arguments, "--cfg-options", *SHORT]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder to work in, with data/mini, its embedding store and a trained model."""
    folder = tmp_path_factory.mktemp("project")
    prepare(folder / "data" / "mini", train=6, val=2, size=(128, 256), workers=1)
    code, said = run_here(folder, "domains", "extract", CONFIG, "--workers", 0)
    assert code == 0, said
    done = run([*DOMINO, *training("whole")], folder)
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    return folder


def test_the_first_run_says_little_and_what_matters(world):
    lines = (world / "said.txt").read_text().splitlines()
    first = [i for i, line in enumerate(lines) if "Iter(train)" in line]
    # One paragraph before the first iteration; stock MMEngine prints 550 lines and more.
    assert first[0] <= 8
    assert len(lines) <= first[-1] + 4
    said = " ".join(lines[: first[0]])
    for words in (
        "Training on 6 images (CityscapesDataset in data/mini/cityscapes), 2 at a time",
        "DominoEncoderDecoder (DominoVPD, DominoNorm, FPNHead)",
        "adapts 4 norm layers, ",
        "'soft' from data/mini/domains.safetensors",
        "The backbone starts from data/mini/models/mini-sd.",
    ):
        assert words in said


def weights(checkpoint):
    return torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]


@pytest.fixture(scope="module")
def tested(world):
    code, said = run_here(
        world, "test", CONFIG, f"whole/iter_{STEPS}.pth", "--work-dir", "alone", "--cfg-options",
        *SHORT[2:3],
    )  # fmt: skip
    assert code == 0, said
    return said


def test_the_table_names_the_five_domains_and_both_averages(world, tested):
    results = json.loads((world / "alone" / "results.json").read_text())
    assert list(results["groups"]) == [
        "cityscapes/clear_day", "acdc/fog", "acdc/night", "acdc/rain", "acdc/snow",
    ]  # fmt: skip
    assert all(group["num_images"] == 2 for group in results["groups"].values())
    summary = results["summary"]["acdc"]
    source = results["groups"]["cityscapes/clear_day"]["mIoU"]
    assert summary["relative_pooled"] == pytest.approx(100 * summary["pooled"] / source)
    markdown = (world / "alone" / "results.md").read_text()
    for row in ("acdc/fog", "acdc, mean of domains", "acdc, pooled"):
        assert row in markdown
        assert row in tested
    assert (world / "alone" / "results.csv").read_text().count("\n") == 8
    assert results["run"]["checkpoint"] == f"whole/iter_{STEPS}.pth"


@pytest.mark.parametrize("start", ["forked", pytest.param("script", marks=pytest.mark.slow)])
def test_two_processes_give_the_figures_of_one(world, tested, start):
    given = (CONFIG, f"whole/iter_{STEPS}.pth")
    options = ("--work-dir", start, "--cfg-options", *SHORT[2:3])
    if start == "forked":
        run_domino_twice(world, world, "test", *given, "--launcher", "pytorch", *options)
    else:
        run(["bash", ROOT / "tools" / "dist_test.sh", *given, 2, *options], world)
    one, two = (
        json.loads((world / name / "results.json").read_text()) for name in ("alone", start)
    )
    assert one["groups"] == two["groups"]
    assert one["summary"] == two["summary"]


@pytest.mark.slow
def test_two_processes_train(world):
    done = run(
        ["bash", ROOT / "tools" / "dist_train.sh", CONFIG, 2, "--work-dir", "both",
         "--cfg-options", *SHORT[1:], "train_cfg.max_iters=2"],
        world,
    )  # fmt: skip
    assert "SyncBN has no CPU implementation" in done.stdout + done.stderr
    before, after = weights(world / "whole" / "iter_2.pth"), weights(world / "both" / "iter_2.pth")
    assert before.keys() == after.keys()
    assert all(torch.isfinite(value).all() for value in after.values())


def test_a_killed_and_resumed_training_ends_with_the_same_weights(world):
    log = world / "killed.txt"
    process = start_domino(world, log, *training("killed"))
    deadline = time.time() + 300
    while not (world / "killed" / "last_checkpoint").exists() and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert (world / "killed" / "iter_2.pth").exists(), log.read_text()
    assert not (world / "killed" / f"iter_{STEPS}.pth").exists(), "it was too fast to be killed"
    process = start_domino(world, log, *training("killed", "--resume"))
    process.join()
    assert process.exitcode == 0, log.read_text()
    whole, resumed = (weights(world / d / f"iter_{STEPS}.pth") for d in ("whole", "killed"))
    start = weights(world / "whole" / "iter_2.pth")
    assert any(not torch.equal(whole[k], start[k]) for k in whole)
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_predictions_are_written_and_augmented(world):
    (world / "augmented.py").write_text(
        f"_base_ = [{str(CONFIG)!r}]\n"
        "tta_pipeline = [dict(type='LoadCheckedImage'), dict(type='TestTimeAug', transforms=[\n"
        "    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],\n"
        "    [dict(type='LoadCheckedAnnotations')], [dict(type='PackDominoInputs')]])]\n"
        "test_evaluator = dict(intervals=False)\n"
    )
    code, said = run_here(
        world, "test", "augmented.py", f"whole/iter_{STEPS}.pth", "--tta", "--out", "predictions",
        "--work-dir", "augmented",
    )  # fmt: skip
    assert code == 0, said
    images = sorted((world / "predictions").rglob("*.png"))
    assert len(images) == 10
    assert max(cv2.imread(str(i), cv2.IMREAD_UNCHANGED).max() for i in images) < 19
    results = json.loads((world / "augmented" / "results.json").read_text())
    assert len(results["groups"]) == 5


def test_a_stock_train_tool_runs_the_mix_in_and_a_stock_test_tool_is_stopped(world):
    """A project of one's own: MMSegmentation's tools, a config anywhere, literal bases."""
    project = world / "own"
    project.mkdir()
    tools = Path(mmseg.__file__).parent / ".mim" / "tools"
    for name in ("train.py", "test.py"):
        shutil.copy(tools / name, project / name)
    (project / "config.py").write_text(
        "_base_ = ['mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',\n"
        "          'mmseg_domino::_base_/domino.py']\n"
        "custom_imports = dict(imports=['mmseg_domino.plugin'], allow_failed_imports=False)\n"
        "domino = dict(store='../data/mini/domains.safetensors', domain_channels=64,\n"
        "    encoder=dict(model='local-dir:../data/mini/models/mini-clip', bank='acdc'))\n"
        "model = dict(data_preprocessor=dict(size=(64, 64)), backbone=dict(init_cfg=None),\n"
        "             decode_head=dict(norm_cfg=dict(type='BN')),\n"
        "             test_cfg=dict(mode='whole', _delete_=True))\n"
        "train_pipeline = _base_.train_pipeline\n"
        "train_pipeline[3]['crop_size'] = (64, 64)\n"
        "train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,\n"
        "    dataset=dict(data_root='../data/mini/cityscapes', pipeline=train_pipeline))\n"
        "val_dataloader = None\nval_cfg = None\nval_evaluator = None\n"
        "test_dataloader = dict(num_workers=0, persistent_workers=False,\n"
        "    dataset=dict(data_root='../data/mini/cityscapes', pipeline=[\n"
        "        dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),\n"
        "        dict(type='PackSegInputs')]))\n"
        "train_cfg = dict(max_iters=2, val_interval=100)\n"
        "default_hooks = dict(checkpoint=dict(interval=2))\n"
    )
    # One process for the three programs: each would import for ten seconds.
    done = run([sys.executable, "-c", "import mmseg_domino; import runpy, sys\n"
         "def tool(name, *arguments):\n"
         "    sys.argv = [name, *arguments]\n"
         "    runpy.run_path(name, run_name='__main__')\n"
         "tool('train.py', 'config.py', '--work-dir', 'w')\n"
         "try:\n    tool('test.py', 'config.py', 'w/iter_2.pth')\n"
         "except Exception as error:\n    print('REFUSED', error)\n"
         "tool('test.py', 'w/config.py', 'w/iter_2.pth')\n"], project)  # fmt: skip
    state = weights(project / "w" / "iter_2.pth")
    assert any(k.startswith("backbone.domain.") for k in state)
    refused = done.stdout.split("REFUSED")[1]
    assert "this program did not build the runner named by `runner_type`" in refused
    # ... while the complete config that training wrote works under any program.
    assert "mIoU" in refused


def test_mixed_precision_trains_or_is_refused_with_the_reason(world):
    from mmseg_domino.engine.cpu_amp import cpu_bfloat16_units

    code, said = run_here(world, *training("amp", "--amp"))
    if torch.cuda.is_available() or cpu_bfloat16_units():
        assert code == 0, said
        half, whole = (weights(world / name / f"iter_{STEPS}.pth") for name in ("amp", "whole"))
        assert all(value.isfinite().all() for value in half.values())
        trained = [k for k in whole if k.startswith("decode_head") and k.endswith("weight")]
        # Near what float32 gives, and not the same.
        difference = max(float((half[k] - whole[k]).abs().max()) for k in trained)
        assert 0 < difference < 0.05
    else:
        assert code != 0
        assert "no hardware for bfloat16" in said
