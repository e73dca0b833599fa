"""The distribution stands alone: its wheel carries the weights and works in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "street_world"

PROGRAM = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mmseg", "mmengine", "mmcv", "mmpretrain", "mmseg_domino"}:
            raise ImportError(name + " is not to be imported")

sys.meta_path.insert(0, Refuse())
import street_world
from street_world import prepare
assert street_world.__file__.startswith(sys.argv[1]), street_world.__file__
folders = prepare("data", train=1, val=1, size=(32, 64), workers=0)
import open_clip
open_clip.create_model_and_transforms(f"local-dir:{folders['clip']}")
"""


@pytest.mark.slow
def test_the_wheel_works_alone_from_an_empty_folder(tmp_path):
    source = tmp_path / "source"
    # A build leaves files beside the sources, and takes up those of an earlier one.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(site)], cwd=empty, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in empty.iterdir()} == {"data"}
    assert (empty / "data" / "models" / "mini-sd" / "model_index.json").is_file()
