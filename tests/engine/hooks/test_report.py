"""After a test: the right images, the figures in every backend, the report."""

import json
import math
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from PIL import Image

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.engine.hooks.report import DominoReportHook
from mmseg_domino.metrics import PerImage, load_results
from mmseg_domino.reporting import ExampleArrays, select_examples
from mmseg_domino.reporting.examples import load_examples
from mmseg_domino.utils.journal import Journal
from tests.processes import run_processes
from tests.reporting import fake

SIZE = (32, 64)
IMAGES = 5


@MODELS.register_module(force=True)
class NearestClassColour(BaseModel):
    """Predicts the class whose colour is nearest: right in daylight, mistaken at night."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.register_buffer("palette", torch.tensor(fake.PALETTE, dtype=torch.float32))
        self.seen = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        distance = (inputs[:, None] - self.palette[None, :, :, None, None]).norm(dim=2)
        for sample, logits in zip(data_samples, -distance / 20, strict=True):
            self.seen.append(sample.img_path)
            sample.set_data(
                {
                    "seg_logits": PixelData(data=logits),
                    "pred_sem_seg": PixelData(data=logits.argmax(0, keepdim=True)),
                }
            )
        return data_samples


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures and labels of three domains; returns the frames by path."""
    root = tmp_path_factory.mktemp("world")
    frames = fake.frames(root / "img", images=IMAGES, size=SIZE)
    for frame in frames:
        label = root / "label" / frame.path.relative_to(root / "img")
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame.label).save(label)
    return root


def config(root: Path, work: Path, launcher="none", **hook) -> Config:
    def dataset(name, domain):
        return dict(
            type="BaseSegDataset", data_root=str(root),
            metainfo=dict(classes=fake.CLASSES, palette=[list(c) for c in fake.PALETTE]),
            data_prefix={
                k: f"{v}/{name}/{domain}" for k, v in
                dict(img_path="img", seg_map_path="label").items()
            },
            img_suffix=".png", seg_map_suffix=".png",
            pipeline=[
                dict(type="SetDomain", dataset=name, domain=domain),
                dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"),
                dict(type="PackDominoInputs"),
            ],
        )  # fmt: skip

    parts = [dataset("cityscapes", "clear_day"), dataset("acdc", "night"), dataset("acdc", "snow")]
    return Config(
        dict(
            default_scope="mmseg", launcher=launcher, work_dir=str(work), experiment_name="report",
            model=dict(
                type="NearestClassColour",
                data_preprocessor=dict(type="SegDataPreProcessor", bgr_to_rgb=True),
            ),
            test_dataloader=dict(
                batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dict(type="ConcatDataset", datasets=parts),
            ),
            test_evaluator=dict(
                type="DomainIoUMetric", source="cityscapes/clear_day", intervals=False,
                results_file=str(work / "results.json"),
            ),
            test_cfg=dict(type="TestLoop"),
            custom_hooks=[dict(type="DominoReportHook", **hook)],
            visualizer=dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")]),
            default_hooks=dict(checkpoint=None), log_level="ERROR",
        )
    )  # fmt: skip


def run(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.test()
    return runner


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    work = tmp_path_factory.mktemp("work")
    runner = run(config(world, work, out_dir=str(work / "report"), long_side=48))
    return work, runner


def test_the_chosen_images_are_the_best_median_and_worst(finished):
    work, _ = finished
    counts = load_results(work).images
    for group in dict.fromkeys(counts.groups):
        rows = [i for i, g in enumerate(counts.groups) if g == group]
        ordered = sorted(rows, key=lambda i: -counts.miou[i])
        chosen = [e for e in load_examples(work / "examples") if e.group == group]
        assert [e.kind for e in chosen] == ["best", "median", "worst"]
        expected = [ordered[0], ordered[IMAGES // 2], ordered[-1]]
        assert [e.image for e in chosen] == [counts.images[i] for i in expected]
        assert [e.rank for e in chosen] == [1, IMAGES // 2 + 1, IMAGES]


def test_the_stored_pictures_are_what_the_model_saw_and_said(finished, world):
    work, _ = finished
    example = next(e for e in load_examples(work / "examples") if e.group == "acdc/night")
    arrays = ExampleArrays(**example.pictures())
    assert arrays.prediction.shape == (24, 48)  # half of 48 pixels
    picture = Image.open(example.image).convert("RGB").resize((48, 24), Image.Resampling.BOX)
    assert np.abs(arrays.image.astype(int) - np.asarray(picture)).max() <= 1  # RGB, not BGR
    full = np.asarray(Image.open(example.image), np.float32)
    distance = np.linalg.norm(full[:, :, None] - np.array(fake.PALETTE), axis=-1)
    expected = Image.fromarray(distance.argmin(-1).astype(np.uint8))
    expected = np.asarray(expected.resize((48, 24), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(arrays.prediction, expected)
    label = Image.open(world / "label" / Path(example.image).relative_to(world / "img"))
    label = np.asarray(label.resize((48, 24), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(arrays.truth, label)
    assert arrays.confidence.min() >= math.floor(255 / fake.N)


def test_only_the_chosen_are_predicted_again(finished):
    _, runner = finished
    tested = 3 * IMAGES
    assert len(runner.model.seen) == tested + 3 * 3
    assert len(set(runner.model.seen[:tested])) == tested


def test_figures_reach_the_visualiser_and_the_report_is_written(finished):
    work, _ = finished
    names = {p.name for p in work.glob("*/vis_data/vis_image/*.png")}
    assert names == {"domino_domains_0.png", "domino_classes_0.png"}
    html = (work / "report" / "report.html").read_text()
    assert html.count("data-over") >= 9
    assert (work / "report" / "figures" / "domains.png").is_file()


def test_neither_the_report_nor_its_figures_need_the_training_set(world, tmp_path):
    """Once it failed after the whole test, before any table was written."""
    cfg = config(world, tmp_path, examples=0, out_dir=str(tmp_path / "report"))
    cfg.train_dataloader = cfg.test_dataloader.copy()
    cfg.train_dataloader.dataset = dict(type="BaseSegDataset", data_root="/nowhere")
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=1)
    cfg.optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
    run(cfg)
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "results.md").read_text().startswith("**")


def test_tables_are_there_whatever_becomes_of_the_report(world, tmp_path, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(DominoReportHook, "collect_examples", fail)
    with pytest.raises(MemoryError):
        run(config(world, tmp_path, figures=False))
    assert "acdc/night" in (tmp_path / "results.csv").read_text()


def test_figures_reach_tensorboard(world, tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed",
    )
    cfg = config(world, tmp_path, examples=0)
    cfg.visualizer.vis_backends = [dict(type="TensorboardVisBackend")]
    run(cfg).visualizer.close()
    file = next(tmp_path.glob("*/vis_data/events*"))
    reader = events.EventAccumulator(str(file))
    reader.Reload()
    assert set(reader.Tags()["images"]) == {"domino_domains", "domino_classes"}
    assert not (tmp_path / "examples").exists()


def test_figures_reach_weights_and_biases(world, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = config(world, tmp_path, examples=0)
    cfg.visualizer.vis_backends = [dict(type="WandbVisBackend")]
    run(cfg).visualizer.close()
    found = {p.name.rsplit("_", 2)[0] for p in tmp_path.rglob("media/images/*.png")}
    assert found == {"domino_domains", "domino_classes"}


def test_an_earlier_tests_examples_are_removed(finished, world, tmp_path):
    runner = run(config(world, tmp_path, figures=False))
    before = {p.name for p in (tmp_path / "examples").iterdir()}
    (tmp_path / "examples" / "mine.txt").write_text("kept")
    DominoReportHook(examples=2, long_side=32).collect_examples(runner, tmp_path)
    chosen = load_examples(tmp_path / "examples")
    after = {p.name for p in (tmp_path / "examples").iterdir()}
    assert len(chosen) == 3 * IMAGES  # five of the six wanted exist
    stored = {name for e in chosen for name in e.files.values()}
    assert after == stored | {"examples.json", "mine.txt"}
    assert before - {"examples.json"} <= stored  # the single ones are among the double ones


def test_without_results_of_this_test_there_is_no_report(world, tmp_path):
    cfg = config(world, tmp_path)
    del cfg.test_evaluator["results_file"]
    with pytest.raises(RuntimeError, match=r"wrote no .*results\.json"):
        run(cfg)
    stale = tmp_path / "results.json"
    stale.write_text("{}")
    os.utime(stale, (0, 0))
    cfg = config(world, tmp_path)
    del cfg.test_evaluator["results_file"]
    with pytest.raises(RuntimeError, match=r"wrote no .*results\.json"):
        run(cfg)


def test_results_of_other_data_are_refused(finished, world, tmp_path):
    work, _ = finished
    for name in ("results.json", "per_image.safetensors"):
        (tmp_path / name).write_bytes((work / name).read_bytes())
    cfg = config(world, tmp_path)
    cfg.test_dataloader.dataset.datasets = cfg.test_dataloader.dataset.datasets[1:]
    runner = Runner.from_cfg(cfg)
    with pytest.raises(RuntimeError, match=r"frame_.*is not in the data set"):
        DominoReportHook(long_side=32).collect_examples(runner, tmp_path)
    (tmp_path / "per_image.safetensors").unlink()
    with pytest.raises(RuntimeError, match=r"no counts by image"):
        DominoReportHook(long_side=32).collect_examples(runner, tmp_path)


def test_after_a_resumed_test_images_of_its_first_part_are_found(finished, world, tmp_path):
    work, _ = finished
    for name in ("results.json", "per_image.safetensors"):
        (tmp_path / name).write_bytes((work / name).read_bytes())
    best = load_examples(work / "examples")[0]
    journal = Journal(tmp_path / "journal", "part0", {})
    journal.append({"group": best.group, "image": best.image})
    cfg = config(world, tmp_path)
    cfg.test_dataloader.dataset = dict(
        type="RemainingDataset",
        dataset=cfg.test_dataloader.dataset,
        journal=str(tmp_path / "journal"),
    )
    runner = Runner.from_cfg(cfg)
    assert len(runner.test_dataloader.dataset) == 3 * IMAGES - 1
    DominoReportHook(long_side=32).collect_examples(runner, tmp_path)
    assert best.image in {e.image for e in load_examples(tmp_path / "examples")}


def test_arguments():
    with pytest.raises(ValueError, match="at least"):
        DominoReportHook(examples=-1)
    with pytest.raises(ValueError, match="at least"):
        DominoReportHook(long_side=0)


def _worker(rank: int, world_size: int, port: int, root: Path, work: Path) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.distributed.init_process_group("gloo")
    runner = run(config(root, work, figures=False, long_side=48))
    (work / f"predicted_{rank}.json").write_text(json.dumps(runner.model.seen))
    assert is_main_process() == (rank == 0)
    torch.distributed.destroy_process_group()


def test_two_processes_choose_and_write_the_same(finished, world, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_processes(_worker, (2, port, world, tmp_path))
    work, _ = finished
    alone, shared = (load_examples(folder / "examples") for folder in (work, tmp_path))
    assert [vars(e) | {"folder": 0} for e in alone] == [vars(e) | {"folder": 0} for e in shared]
    for a, b in zip(alone, shared, strict=True):
        for part, name in a.files.items():
            assert (work / "examples" / name).read_bytes() == (
                tmp_path / "examples" / b.files[part]
            ).read_bytes()
    again = [len(json.loads((tmp_path / f"predicted_{r}.json").read_text())) for r in (0, 1)]
    # 15 images make 8 a process, one of them twice; the nine examples are dealt out.
    assert again == [8 + 5, 8 + 4]


def test_ties_are_broken_by_path():
    ones = np.ones((4, 3, 1), np.int64)
    counts = PerImage(("d", "a", "c", "b"), ("x/y",) * 4, ("road",), ones)
    assert [(s.image, s.kind) for s in select_examples(counts)] == [
        ("a", "best"), ("b", "median"), ("d", "worst"),
    ]  # fmt: skip
