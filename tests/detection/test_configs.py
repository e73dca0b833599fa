"""The detection configs: complete, buildable, and the mini one from training to report."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

pytest.importorskip("mmdet")

from click.testing import CliRunner
from mmdet.registry import DATASETS, METRICS, MODELS, TRANSFORMS

import street_world
from mmseg_domino import (
    detection,  # noqa: F401  registers, as the import lines of the configs do
    engine,
)
from mmseg_domino.cli import main
from mmseg_domino.datasets import leaf_datasets
from mmseg_domino.metrics import load_detection_results

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "detection").glob("*.py"))
DATA = [
    p for p in sorted((ROOT / "configs" / "_base_" / "datasets").glob("*.py"))
    if p.stem.endswith("_detection") or p.stem == "diverse_weather"
]  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_name_what_there_is(path):
    cfg = engine.apply_domino(Config.fromfile(path))
    assert cfg.model.type == "DominoDetector"
    with DefaultScope.overwrite_default_scope("mmdet"):
        for loader in ("train_dataloader", "test_dataloader"):
            for leaf in leaf_datasets(cfg[loader]):
                assert DATASETS.get(leaf["type"]) is not None
                names = [step["type"] for step in leaf["pipeline"]]
                assert "LoadDomainEmbedding" in names
                assert names[-1] == "PackDominoDetInputs"
                for step in leaf["pipeline"]:
                    TRANSFORMS.build(step) if step["type"] != "LoadDomainEmbedding" else None
        metric = METRICS.build(cfg.test_evaluator)
        assert metric.source.split("/")[0] in {
            leaf.get("dataset_name", "diverse_weather")
            for leaf in leaf_datasets(cfg.test_dataloader)
        }
        assert MODELS.get(cfg.model.detector) is not None


@pytest.mark.parametrize("path", DATA, ids=lambda p: p.stem)
def test_data_set_files_name_what_there_is(path):
    cfg = Config.fromfile(path)
    values = [v for value in cfg.values() for v in (value if isinstance(value, list) else [value])]
    found = [v for v in values if isinstance(v, dict) and "pipeline" in v]
    assert found
    with DefaultScope.overwrite_default_scope("mmdet"):
        for leaf in found:
            assert DATASETS.get(leaf["type"]) is not None
            for step in leaf["pipeline"]:
                TRANSFORMS.build(step)


def test_data_of_fog_and_corruptions_are_domains_of_their_own():
    cfg = Config.fromfile(ROOT / "configs/_base_/datasets/cityscapes_detection.py")
    assert [d["domain"] for d in cfg.foggy_cityscapes_det_val] == [
        "beta_0.005", "beta_0.01", "beta_0.02",
    ]  # fmt: skip
    assert len({d["domain"] for d in cfg.cityscapes_c_det_val}) == 75
    assert cfg.cityscapes_c_det_val[0].pipeline[1].type == "Corrupt"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return street_world.write_street_world(
        tmp_path_factory.mktemp("world"), 2, 2, (64, 128), seed=3, workers=0, progress=False
    )


def test_the_vision_transformer_under_soma_trains_at_small_width(tmp_path, world):
    """All of the config but its size, its weights and the store: schedule, pipeline, pyramid."""
    small, width = dict(embed_dim=32, depth=4, num_heads=2, img_size=56), 32
    options = {
        "domino.encode": "none", "domino.backbone.injection": "none",
        "domino.backbone.adapter": dict(rank=2, start_block=1),
        "model.backbone.weights": None, "model.backbone.options": small,
        "model.neck.0.embed_dim": width, "model.neck.1.in_channels": [width] * 4,
        "train_cfg.max_iters": 3, "val_cfg": None, "val_dataloader": None, "val_evaluator": None,
        "train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.data_root": f"{world}/cityscapes/",
        "default_hooks.checkpoint.interval": 3,
    }  # fmt: skip
    path = ROOT / "configs/detection/domino_mask-rcnn_dinov2-l_8xb1-24e_cityscapes_to_acdc.py"
    cfg = engine.load_config(str(path), str(tmp_path), options)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == "RandomResize":
            step.scale = [(256, 96), (256, 128)]
    runner = engine.build_runner(engine.for_this_run(engine.apply_domino(cfg)))
    runner.train()
    state = runner.optim_wrapper.optimizer.state
    trained = {n: p for n, p in runner.model.backbone.named_parameters() if p.requires_grad}
    assert any("lora_" in n for n in trained)
    assert not any("lora_" in n and ".blocks.0." in n for n in trained)
    for n, parameter in trained.items():
        assert state[parameter]["exp_avg"].any(), f"{n} got no gradient"


def test_the_mini_detector_trains_tests_and_reports(tmp_path, world):
    options = {
        "domino.encode": "none", "domino.backbone.injection": "none",
        "train_cfg.max_iters": 2, "param_scheduler.1.begin": 0, "param_scheduler.1.end": 2,
        "default_hooks.checkpoint.interval": 2, "domino.weather.prob": 1.0,
        "domino.weather.depth.root": f"{world}/cityscapes/disparity/train",
        "domino.weather.depth.camera_root": f"{world}/cityscapes/camera/train",
        "train_dataloader.dataset.data_root": f"{world}/cityscapes/",
        "test_dataloader.dataset.datasets.0.data_root": f"{world}/cityscapes/",
        "test_dataloader.dataset.datasets.1.data_root": f"{world}/acdc/",
    }  # fmt: skip
    path, work_dir = ROOT / "configs/detection/domino_mask-rcnn_mini.py", tmp_path / "run"
    cfg = engine.apply_domino(engine.load_config(str(path), str(work_dir), options))
    runner = engine.build_runner(engine.for_this_run(cfg))
    runner.train()
    checkpoint = (work_dir / "last_checkpoint").read_text().strip()
    # the saved config is complete in itself
    cfg = engine.for_this_run(Config.fromfile(work_dir / path.name))
    cfg.load_from = checkpoint
    engine.record_results(cfg, checkpoint)
    assert engine.report_hook(cfg) == "DetectionReportHook"
    hook = dict(type="DetectionReportHook", out_dir=str(tmp_path / "report"))
    cfg.custom_hooks = [*cfg.custom_hooks, hook]
    figures = engine.build_runner(cfg).test()
    assert {f"acdc/{d}/bbox_AP" for d in ("fog", "night", "rain", "snow")} <= figures.keys()
    results = load_detection_results(work_dir)
    assert [g.num_images for g in results.groups.values()] == [2] * 5
    assert results.run["weights"]["loaded"]
    page = (tmp_path / "report/report.html").read_text()
    assert "Best" in page
    assert "AP of masks by class" in page
    assert "acdc/night" in page
    assert "bbox_AP" not in page, "figures have names for people"
    out = CliRunner().invoke(main, ["report", str(work_dir), str(work_dir), "--out",
                                    str(tmp_path / "two")])  # fmt: skip
    assert out.exit_code == 0, out.output
    assert "AP boxes" in out.output
    with pytest.raises(ValueError, match="no journal"):
        engine.record_results(cfg, checkpoint, resume=True)
    with pytest.raises(ValueError, match="outfile_prefix"):
        engine.save_predictions(cfg, "out")
