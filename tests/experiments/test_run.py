"""Runs of a sweep in this process: real training of a small network, from its frozen config."""

import shutil
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

from mmseg_domino.experiments import read_record
from mmseg_domino.experiments.record import RunRecord, freeze_config, write_record
from mmseg_domino.experiments.run import train_and_test

from ..small_training import write_small_training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run that kept all checkpoints, and its weights."""
    folder = tmp_path_factory.mktemp("run")
    config = Config.fromfile(write_small_training(folder), format_python_code=False)
    config.default_hooks.checkpoint.max_keep_ckpts = -1
    work = folder / "set" / "small" / "seed0"
    digest = freeze_config(work, config)
    write_record(work, RunRecord("set", "small", 0, config_sha256=digest))
    frozen = (work / "frozen_config.py").read_bytes()
    train_and_test(work)
    assert (work / "frozen_config.py").read_bytes() == frozen
    return work, weights(work)


@pytest.fixture
def run(whole, tmp_path):
    """A copy of its folder, to be damaged."""
    return shutil.copytree(whole[0], tmp_path / "set" / "small" / "seed0")


def weights(work):
    return torch.load(work / "iter_4.pth", weights_only=False)["state_dict"]


def assert_same(one, other):
    assert all(torch.equal(one[key], other[key]) for key in one)


def cut_off(run):
    """As a kill after the third iteration leaves the folder."""
    for name in ("iter_4.pth", "trained", "results.json"):
        (run / name).unlink()


@pytest.mark.parametrize("last", ["lost", "empty", "cut off", "of a file that is gone"])
def test_a_run_goes_on_whatever_the_kill_left(whole, run, last):
    cut_off(run)
    if last == "lost":
        (run / "last_checkpoint").unlink()
    elif last == "empty":
        (run / "last_checkpoint").write_text("")
    elif last == "cut off":
        checkpoint = run / "iter_3.pth"
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    train_and_test(run)
    assert (run / "trained").read_text() == "iter_4.pth"
    assert (run / "results.json").is_file()
    assert_same(weights(run), whole[1])


@pytest.mark.parametrize("content", [b"", b"iter_3", b"\xff\x00", b"/elsewhere/iter_4.pth"])
def test_a_damaged_marker_is_named_and_the_training_checked(whole, run, content, capfd):
    (run / "trained").write_bytes(content)
    (run / "results.json").unlink()
    train_and_test(run)
    said = capfd.readouterr().out
    assert f"{run / 'trained'} names" in said
    assert "training goes on from" in said
    assert (run / "trained").read_text() == "iter_4.pth"
    assert_same(weights(run), whole[1])


def test_a_start_of_other_weights_is_not_resumed_from(whole, run, tmp_path):
    """`load_from` is where a training starts, not where it goes on."""
    cut_off(run)
    config = Config.fromfile(run / "frozen_config.py", format_python_code=False)
    config.load_from = str(shutil.copy(run / "iter_1.pth", tmp_path / "start.pth"))
    record = read_record(run)
    write_record(run, replace(record, config_sha256=freeze_config(run, config)))
    train_and_test(run)
    assert_same(weights(run), whole[1])


def test_an_edited_frozen_config_is_not_trained(run):
    frozen = run / "frozen_config.py"
    frozen.write_text(frozen.read_text().replace("lr=0.01", "lr=0.02"))
    with pytest.raises(ValueError, match=r"frozen_config\.py was edited"):
        train_and_test(run)
