"""Someone else's project: configs anywhere, bases of this package, MMSegmentation's own tools."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from street_world import prepare
from tests.tiny_clip import write_tiny_clip

ROOT = Path(__file__).parents[1]
#: Made small; ``CHANGES`` is filled with settings by dotted key, for the pipelines' sizes.
DRIVER = """
import runpy, sys
from pathlib import Path
import mmseg
from mmengine.config import Config

TOOLS = Path(mmseg.__file__).parent / ".mim" / "tools"

def sizes(node, where):
    if isinstance(node, dict):
        kind = str(node.get("type"))
        if kind in ("Resize", "RandomResize") and "scale" in node:
            yield f"{where}.scale=(64,32)"
        if kind == "RandomCrop":
            yield f"{where}.crop_size=(32,32)"
        if node.get("type") == "SyncBN":
            yield f"{where}.type=BN"
        if kind.endswith("DataPreProcessor") and "size" in node:
            yield f"{where}.size=(32,32)"
        node = node.items()
    elif isinstance(node, (list, tuple)):
        node = enumerate(node)
    else:
        return
    for key, child in node:
        yield from sizes(child, f"{where}.{key}" if where else str(key))

def options(config, *more):
    cfg = Config.fromfile(config)
    parts = {k: cfg[k] for k in cfg if k == "model" or k.endswith("_dataloader")}
    found = [*sizes(parts, ""), *more, "train_cfg.max_iters=1", "train_cfg.val_interval=9"]
    for loader in ("train", "val", "test"):
        where = f"{loader}_dataloader"
        found += [f"{where}.num_workers=0", f"{where}.persistent_workers=False"]
    return found

def run(tool, config, *arguments, more=()):
    print("==", tool, config, flush=True)
    sys.argv = [tool, config, *arguments, "--cfg-options", *options(config, *more)]
    runpy.run_path(str(TOOLS / tool), run_name="__main__")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder of one's own with ``data/cityscapes`` and ``data/acdc``."""
    folder = tmp_path_factory.mktemp("own")
    prepare(folder / "data", train=2, val=1, size=(64, 128), workers=1, models=False)
    write_tiny_clip(folder / "clip")
    return folder


def python(code: str, folder: Path, check: bool = True) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert (done.returncode == 0) is check, done.stdout[-1500:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def documented(page: str, containing: str) -> str:
    """A config's text out of the docs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.M) + re.findall(
        r"```python\n(.*?)```", text, re.S
    )
    found = [b for b in blocks if containing in b and "_base_ = [" in b]
    assert len(found) == 1, found
    lines = found[0].strip("\n").splitlines()
    indent = 4 if all(line.startswith("    ") or not line for line in lines) else 0
    return "\n".join(line[indent:] for line in lines) + "\n"


def test_documented_configs_train_and_test_under_mmsegmentations_tools(project):
    (project / "setting.py").write_text(documented("docs/data.md", "::settings/"))
    (project / "sets.py").write_text(documented("docs/data.md", "::_base_/datasets/"))
    (project / "backbone.py").write_text(
        "_base_ = ['mmseg_domino::backbones/domino_r50_8xb2-40k_cityscapes-512x512.py']\n"
        "domino = dict(store=None, encode='pipeline',\n"
        "    domain_channels=dict(joint=16, context=24), encoder=dict(\n"
        "    _delete_=True, model='local-dir:clip', bank='acdc'))\n"
        "model = dict(backbone=dict(depth=18, base_channels=8, pretrained=None, init_cfg=None),\n"
        "    decode_head=dict(in_channels=[8, 16, 32, 64], channels=8))\n"
    )
    output = python(
        DRIVER + "small = ['model.backbone.init_cfg=None', 'model.backbone.num_layers=[1,1,1,1]',\n"
        "         'model.pretrained=None']\n"
        "run('train.py', 'setting.py', '--work-dir', 'w1', more=small)\n"
        "run('test.py', 'setting.py', 'w1/iter_1.pth', '--work-dir', 'w1', more=small)\n"
        "run('test.py', 'sets.py', 'w1/iter_1.pth', '--work-dir', 'w2', more=small)\n"
        "run('train.py', 'backbone.py', '--work-dir', 'w3')\n"
        "run('test.py', 'w3/backbone.py', 'w3/iter_1.pth', '--work-dir', 'w3')\n",
        project,
    )
    assert output.count("acdc/fog") >= 2  # both tests of setting.py and backbone.py
    assert "acdc/night" in output.split("test.py sets.py")[1]
