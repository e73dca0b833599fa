"""Ten kills at random moments in each kind of long work, which then ends as without them.

The processes are forked from this one, which has imported everything, so that most moments are of
the work itself. Slow: ``pytest -m slow tests/test_kills.py``.
"""

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmseg_domino import engine
from mmseg_domino.domain import DomainEncoder, load_prompt_bank
from mmseg_domino.domain.extraction import extract
from mmseg_domino.experiments import Sweep, plan_runs, read_record
from mmseg_domino.metrics import load_results
from mmseg_domino.synthesis import (
    GateThresholds,
    LabelledImages,
    Plan,
    QualityGate,
    SynthesisTree,
    synthesise,
)
from mmseg_domino.utils.images import list_images
from mmseg_domino.utils.journal import journal_files

from .small_training import write_small_training
from .synthesis.scenes import Recolour, write_cityscapes
from .tiny_clip import write_tiny_clip

FORK = multiprocessing.get_context("fork")
KILLS = 10


def start(work: Callable[[Path], object], folder: Path, log: Path):
    def run() -> None:
        with open(log, "ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        work(folder)

    process = FORK.Process(target=run)
    process.start()
    return process


def survive(work: Callable[[Path], object], outcome: Callable[[Path], object], root: Path) -> int:
    """Kill the work ten times, starting it again each time, in a new folder when it is done.

    Every folder that is done must have the outcome of one that nothing happened to; returns how
    many there were.
    """
    log = root / "log"
    begin = time.monotonic()
    process = start(work, root / "whole", log)
    process.join()
    lasts = time.monotonic() - begin
    assert process.exitcode == 0, log.read_text()[-3000:]
    right = outcome(root / "whole")
    moments = np.random.default_rng(len(root.name))
    kills = folders = 0
    while kills < KILLS:
        folder = root / f"killed{folders}"
        while True:
            process = start(work, folder, log)
            process.join(None if kills == KILLS else moments.uniform(0, lasts))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
        assert process.exitcode == 0, log.read_text()[-3000:]
        assert outcome(folder) == right
        folders += 1
    return folders


def hashes(folder: Path, *but: str) -> dict[str, str]:
    """Of every file that is no log, by its path."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    found = {p.relative_to(folder).as_posix(): p for p in files if p.name not in but}
    return {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in found.items()}


def weights(file: Path) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(torch.load(file, weights_only=False)["state_dict"].items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def small(config: Path, work_dir: Path, **changes) -> Config:
    cfg = Config(Config.fromfile(config).to_dict(), filename=str(config), format_python_code=False)
    return engine.load_config(cfg, str(work_dir), changes)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 3])
def test_training(kept, tmp_path):
    config = write_small_training(tmp_path)

    def train(folder):
        changes = {"train_cfg.max_iters": 60, "default_hooks.checkpoint.max_keep_ckpts": kept}
        engine.build_runner(small(config, folder, resume=True, **changes)).train()

    def outcome(folder):
        return {p.name: weights(p) for p in folder.glob("*.pth")}

    assert survive(train, outcome, tmp_path) >= 1
    assert len(outcome(tmp_path / "whole")) == kept


@pytest.mark.slow
def test_extraction(tmp_path):
    for index in range(60):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((600, 400), Image.Resampling.BICUBIC).save(path)
    images = list_images(tmp_path / "images")
    encoder = DomainEncoder(str(write_tiny_clip(tmp_path / "clip")))

    def embed(folder):
        extract(images, encoder, folder / "s.safetensors", batch_size=2, workers=0)

    assert survive(embed, hashes, tmp_path) >= 1
    assert list(hashes(tmp_path / "whole")) == ["s.safetensors"]


@pytest.mark.slow
def test_generation(tmp_path):
    source = write_cityscapes(tmp_path / "cityscapes", 8)
    plan = Plan(["fog", "night", "rain"], load_prompt_bank("acdc"), per_label=3, min_free=0.0)

    def generate(folder):
        labelled, tree = LabelledImages(source), SynthesisTree(folder)
        synthesise(labelled, Recolour(), QualityGate(GateThresholds()), tree, plan, progress=False)

    assert survive(generate, hashes, tmp_path) >= 1
    assert len(list((tmp_path / "whole/images").rglob("*.png"))) == 72


@pytest.mark.slow
def test_testing(tmp_path):
    config = write_small_training(tmp_path, images=40)
    engine.build_runner(small(config, tmp_path / "run")).train()
    checkpoint = str(tmp_path / "run" / "iter_4.pth")

    def test(folder):
        cfg = engine.for_this_run(small(config, folder, load_from=checkpoint))
        begun = bool(journal_files(folder / "test_journal"))
        engine.record_results(cfg, checkpoint, resume=begun)
        engine.build_runner(cfg).test()
        engine.write_tables(str(folder))

    def outcome(folder):
        assert not (folder / "test_journal").exists()
        images = hashlib.sha256((folder / "per_image.safetensors").read_bytes()).hexdigest()
        return load_results(folder).metrics(), (folder / "results.csv").read_text(), images

    assert survive(test, outcome, tmp_path) >= 1


@pytest.mark.slow
def test_sweeping(tmp_path):
    config = write_small_training(tmp_path)
    (tmp_path / "set.py").write_text(
        f"base = {str(config)!r}\n"
        "conditions = dict(a=dict(), b={'optim_wrapper.optimizer.lr': 0.02})\n"
    )
    changes = {"train_cfg.max_iters": 20}

    def sweep(folder):
        report = Sweep(plan_runs([tmp_path / "set.py"], [0]), folder, options=changes).execute()
        assert report.complete, report.failed

    def outcome(folder):
        runs = [folder / "set" / name / "seed0" for name in "ab"]
        assert [read_record(run).status for run in runs] == ["finished"] * 2
        return [(weights(run / "iter_20.pth"), load_results(run).metrics()) for run in runs]

    assert survive(sweep, outcome, tmp_path) >= 1
