"""``domino train`` and ``domino test`` in this process, on a model that takes a second."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from ..small_training import write_small_training


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with config, data and the training ``trained`` of them; and what it printed."""
    folder = tmp_path_factory.mktemp("small")
    write_small_training(folder)
    return folder


@pytest.fixture
def trained(project, domino, capsys):
    arguments = ("--work-dir", project / "trained", "--cfg-options", "log_level=INFO",
                 "default_hooks.checkpoint.max_keep_ckpts=10")  # fmt: skip
    if not (project / "trained" / "said.txt").is_file():
        assert domino("train", project / "config.py", *arguments) == 0
        (project / "trained" / "said.txt").write_text("".join(capsys.readouterr()))
    return project / "trained"


def test_the_screen_is_short_and_the_log_is_whole(trained):
    lines = (trained / "said.txt").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "(train)" in line)
    assert first <= 6
    paragraph = " ".join(lines[:first])
    for words in (
        "Training on 4 images (BaseSegDataset in ",
        "2 at a time, 4 iterations, on ",
        "EncoderDecoder (ResNetV1c, FCNHead), ",
        "No checkpoint is loaded. Log: ",
    ):
        assert words in paragraph
    assert len([line for line in lines if "(train)" in line]) == 4
    [log] = trained.glob("*/*.log")
    assert str(log) in paragraph
    text = log.read_text()
    for words in (
        "System environment",
        "Config:",
        "Hooks will be executed",
        "Training on 4 images",
    ):
        assert words in text


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_saved_config_carries_nothing_of_the_test_that_saved_it(trained, project, domino, capsys):
    """Another checkpoint, tested with it, gave the old table and overwrote the old results."""
    a, b = project / "a", project / "b"
    options = ("--cfg-options", "log_level=INFO")
    assert domino("test", project / "config.py", trained / "iter_4.pth", "--work-dir", a,
                  "--out", project / "predictions", *options) == 0  # fmt: skip
    before = {p: p.read_bytes() for p in a.iterdir() if p.is_file()}
    said = capsys.readouterr().out
    saved = Config.fromfile(a / "config.py")
    original = Config.fromfile(project / "config.py")
    assert saved.test_evaluator == original.test_evaluator
    assert saved.get("load_from") is None
    [other] = a.glob("*/vis_data/config.py")
    assert Config.fromfile(other).test_evaluator == original.test_evaluator
    shutil.rmtree(project / "predictions")
    assert domino("test", a / "config.py", trained / "iter_1.pth", "--work-dir", b, *options) == 0
    again = capsys.readouterr().out
    assert {p: p.read_bytes() for p in before} == before
    assert not (project / "predictions").exists()
    assert results(b)["run"]["checkpoint"].endswith("iter_1.pth")
    assert results(a)["groups"] != results(b)["groups"]
    for folder, printed in ((a, said), (b, again)):
        value = results(folder)["groups"]["small/day"]["mIoU"]
        assert f"{value:.2f}" in printed.split("(test)")[-1].split("\n\n")[-2]


def test_predictions_have_the_paths_of_their_images(trained, project, domino):
    """Two sequences with frames of one name wrote over each other's in two processes."""
    for kind in ("images", "labels"):
        for sequence, number in (("a", 0), ("b", 1)):
            target = project / "sequences" / kind / sequence / "frame.png"
            target.parent.mkdir(parents=True)
            shutil.copy(project / "data" / kind / f"{number}.png", target)
    out = project / "mirrored"
    options = ("--work-dir", project / "m", "--data-root", project / "sequences", "--out", out)
    assert domino("test", project / "config.py", trained / "iter_4.pth", *options) == 0
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert found == {"small/day/a/frame.png", "small/day/b/frame.png"}


def test_a_resumed_training_is_not_what_its_config_asks_for(trained, project, domino):
    shutil.copytree(trained, project / "resumed")
    assert domino("train", project / "config.py", "--work-dir", project / "resumed", "--resume",
                  "--cfg-options", "train_cfg.max_iters=5") == 0  # fmt: skip
    assert (project / "resumed" / "iter_5.pth").is_file()
    assert not Config.fromfile(project / "resumed" / "config.py").get("resume", False)


def test_wrong_input_is_one_message(trained, project, domino, capsys):
    assert domino("train", project / "absent.py") == 1
    assert "absent.py" in capsys.readouterr().err
    missing = ("--cfg-options", "custom_imports.imports=[no_such_module]",
               "custom_imports.allow_failed_imports=False")  # fmt: skip
    assert domino("train", project / "config.py", "--work-dir", project / "x", *missing) == 1
    assert "no_such_module" in capsys.readouterr().err
    out = ("--work-dir", project / "y")
    assert domino("test", project / "config.py", project / "absent.pth", *out) == 1
    assert "absent.pth" in capsys.readouterr().err
    content = torch.load(trained / "iter_4.pth", weights_only=False)
    content["state_dict"] = {f"student.{k}": v for k, v in content["state_dict"].items()}
    torch.save(content, project / "other.pth")
    assert domino("test", project / "config.py", project / "other.pth", *out) == 1
    assert "No key fits: those of the checkpoint begin" in capsys.readouterr().err
    assert not list(project.glob("y/**/results.json"))
    assert domino("test", project / "config.py", "x.pth", "--format-only") == 2
    assert "needs --out" in capsys.readouterr().err
