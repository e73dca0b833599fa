"""What a test says of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_domino.engine import describe_run


def git(folder, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@e"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    (tmp_path / "config.py").write_text("a = 1\n")
    git(tmp_path, "add", "config.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def describe():
    Path("c.py").touch()  # Config reads it
    cfg = Config(dict(work_dir="work_dirs/run", randomness=dict(seed=3)), filename="c.py")
    return describe_run(cfg, "iter_1.pth")


def test_the_commit_is_the_projects_and_changes_show(project):
    commit = git(project, "rev-parse", "--short=12", "HEAD")
    assert describe()["commit"] == commit
    (project / "results.json").write_text("{}")  # not tracked: no change of the code
    assert describe()["commit"] == commit
    (project / "config.py").write_text("a = 2\n")
    assert describe()["commit"] == f"{commit}+changes"


def test_outside_of_any_checkout_the_commit_is_the_packages_or_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = describe()["commit"]
    assert found is None or len(found.removesuffix("+changes")) == 12
    monkeypatch.setenv("PATH", "")  # no git
    assert describe()["commit"] is None


def test_the_rest(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/test.py", "c.py", "a file.pth"])
    found = describe()
    assert found["command"] == "tools/test.py c.py 'a file.pth'"
    assert (found["name"], found["config"], found["seed"]) == ("run", "c.py", 3)
    assert found["versions"]["python"] == sys.version.split()[0]
    assert {"torch", "mmseg_domino"} <= set(found["versions"])


def test_split_size_and_windows_are_said(project):
    Path("c.py").touch()
    resize = [dict(type="Resize", scale=(2048, 1024))]
    parts = [
        dict(type="CityscapesDataset", data_root="data/cityscapes/", pipeline=resize,
             data_prefix=dict(img_path="leftImg8bit/val")),
        dict(type="ACDCDataset", data_root="data/acdc/", split="val", pipeline=[]),
    ]  # fmt: skip
    content = dict(
        work_dir="w",
        model=dict(test_cfg=dict(mode="slide", crop_size=(512, 1024), stride=(341, 683))),
        test_dataloader=dict(dataset=dict(type="ConcatDataset", datasets=parts)),
    )  # fmt: skip
    assert describe_run(Config(content, filename="c.py"), "x.pth")["protocol"] == (
        "windows of 1024 x 512, stride 683 x 341; "
        "CityscapesDataset data/cityscapes/ leftImg8bit/val at 2048 x 1024; "
        "ACDCDataset data/acdc/ val"
    )
    assert describe()["protocol"] is None
