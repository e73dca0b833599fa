"""A sweep as a user runs it: killed, resumed, with a run that fails."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmseg_domino.experiments import read_record
from street_world import prepare
from tests.experiments.folders import write_run

from .running import ROOT, environment, run

STEPS = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    prepare(folder / "data" / "mini", train=6, val=2, size=(128, 256), workers=1)
    done = run(
        "domains", "extract", ROOT / "configs" / "bench" / "domino_vpd_bench.py",
        "--model", "local-dir:data/mini/models/mini-clip", "--out",
        "data/mini/domains.safetensors", "--workers", 0, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    base = ROOT / "configs" / "bench" / "domino_vpd_bench.py"
    for name, more in (("set", "bad={'model.backbone.injection': 'multiply'}"), ("one", "")):
        (folder / f"{name}.py").write_text(
            f"base = {str(base)!r}\nconditions = dict(good=dict(), {more})\n"
        )
    return folder


def arguments(project, name, source="set.py"):
    return [
        project / source, "--work-dir", project / name, "--seeds", "0", "--cfg-options",
        f"train_cfg.max_iters={STEPS}", "default_hooks.checkpoint.interval=2",
    ]  # fmt: skip


def weights(folder):
    return torch.load(folder / f"iter_{STEPS}.pth", map_location="cpu", weights_only=False)[
        "state_dict"
    ]


@pytest.mark.slow
def test_failed_killed_and_resumed(project):
    whole = run("sweep", *arguments(project, "whole"), cwd=project)
    assert whole.returncode == 1
    assert "failed: set/bad seed 0: ValueError: " in whole.stdout
    assert "unknown injection 'multiply'" in whole.stdout
    good = project / "whole" / "set" / "good" / "seed0"
    assert read_record(good).status == "finished"
    assert "multiply" in read_record(project / "whole" / "set" / "bad" / "seed0").reason

    command = [sys.executable, "-m", "mmseg_domino", "sweep", *arguments(project, "killed")]
    process = subprocess.Popen(
        list(map(str, command)), cwd=project, env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    killed = project / "killed" / "set" / "good" / "seed0"
    deadline = time.time() + 300
    while not (killed / "iter_2.pth").is_file() and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)  # of the sweep alone: its run must not outlive it
    process.wait()
    assert not (killed / "results.json").is_file(), "it was too fast to be killed"
    again = run("sweep", *arguments(project, "killed"), cwd=project)
    assert "resumed   set/good seed 0" in again.stdout
    assert read_record(killed).status == "finished"
    assert read_record(killed).attempts == 2
    a, b = weights(good), weights(killed)
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
def test_two_processes_a_run(project):
    given = arguments(project, "distributed", "one.py")
    done = run("sweep", given[0], "--gpus", 2, *given[1:], cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "distributed" / "one" / "good" / "seed0" / "results.json").is_file()


def test_what_is_asked_wrongly_is_said_at_once(domino, tmp_path, capsys):
    assert domino("sweep", tmp_path / "nowhere", "--work-dir", tmp_path) == 2
    assert "does not exist; give the file of a set" in capsys.readouterr().err
    assert domino("sweep", ROOT / "configs/ablation/injection.py", "--list", "--seeds", 5) == 0
    assert "injection/subtract_both/seed5" in capsys.readouterr().out


def test_the_tables_of_a_sweep(domino, tmp_path, capsys):
    for name, right in (("plain", 0.8), ("domino", 0.9)):
        for seed in (0, 1):
            write_run(tmp_path / "set" / name / f"seed{seed}", seed, right, record=("set", name))
    assert domino("report", tmp_path, "--out", tmp_path / "tables") == 0
    said = capsys.readouterr().out
    assert "set: differences from domino" in said  # the first by name, without a plan
    for table in ("set", "set_domains", "set_differences"):
        for kind in ("md", "csv", "tex"):
            assert (tmp_path / "tables" / f"{table}.{kind}").is_file()
