import json
import multiprocessing
import time

import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmseg_domino import engine
from mmseg_domino.datasets import Corrupt
from mmseg_domino.engine.testing import (
    save_predictions,
    show_predictions,
    use_test_time_augmentation,
)
from mmseg_domino.utils.locks import FolderInUseError, folder_lock


def leaf(domain=None, *more):
    tag = [dict(type="SetDomain", dataset="acdc", domain=domain)] if domain else []
    loading = [*tag, dict(type="LoadImageFromFile"), *more]
    return dict(type="D", pipeline=[*loading, dict(type="Resize"), dict(type="PackSegInputs")])


def config(**kwargs):
    return Config(
        dict(
            model=dict(type="DominoEncoderDecoder"),
            test_dataloader=dict(
                dataset=dict(
                    type="ConcatDataset",
                    datasets=[
                        leaf("fog"),
                        dict(type="RepeatDataset", dataset=leaf("snow")),
                        leaf(),
                    ],
                )
            ),
            tta_model=dict(type="SegTTAModel"),
            tta_pipeline=[dict(type="LoadImageFromFile"), dict(type="TestTimeAug")],
            test_evaluator=[dict(type="A"), dict(type="B")],
            default_hooks=dict(visualization=dict(type="SegVisualizationHook")),
            visualizer=dict(type="SegLocalVisualizer"),
            **kwargs,
        )
    )


def kinds(leaf):
    return [step.type for step in leaf.pipeline]


def test_augmentation_reaches_every_data_set_and_keeps_how_it_loads():
    cfg = config()
    corrupt = dict(type="mmseg_domino.datasets.Corrupt", corruption="fog", severity=3)
    corrupted = ConfigDict(leaf("fog_3", corrupt, dict(type="EncodeDomain")))
    cfg.test_dataloader.dataset.datasets[0] = corrupted
    use_test_time_augmentation(cfg)
    corrupted, repeated, plain = cfg.test_dataloader.dataset.datasets
    assert kinds(corrupted) == [
        "SetDomain", "LoadImageFromFile", corrupt["type"], "EncodeDomain", "TestTimeAug",
    ]  # fmt: skip
    assert corrupted.pipeline[2].severity == 3
    assert kinds(repeated.dataset) == ["SetDomain", "LoadImageFromFile", "TestTimeAug"]
    assert kinds(plain) == ["LoadImageFromFile", "TestTimeAug"]
    assert [d.pipeline[0].domain for d in (corrupted, repeated.dataset)] == ["fog_3", "snow"]
    assert cfg.model.type == "SegTTAModel"
    assert cfg.model.module.type == "DominoEncoderDecoder"


def test_transforms_may_be_named_by_class():
    from mmcv.transforms import LoadImageFromFile, Resize

    cfg = config()
    step = dict(type=Corrupt, corruption="fog", severity=3)
    pipeline = [dict(type=LoadImageFromFile), step, dict(type=Resize)]
    cfg.test_dataloader.dataset.datasets[0].pipeline = pipeline
    use_test_time_augmentation(cfg)
    steps = cfg.test_dataloader.dataset.datasets[0].pipeline
    assert [s["type"] for s in steps] == [LoadImageFromFile, Corrupt, "TestTimeAug"]


def test_loading_that_comes_too_late_is_refused():
    cfg = config()
    late = leaf("fog").copy()
    late["pipeline"].append(dict(type="Corrupt", corruption="fog", severity=1))
    cfg.test_dataloader.dataset.datasets[0] = late
    with pytest.raises(ValueError, match="Corrupt must come before Resize"):
        use_test_time_augmentation(cfg)


def test_augmentation_needs_its_pipeline():
    cfg = config()
    cfg.pop("tta_pipeline")
    with pytest.raises(ValueError, match="needs `tta_pipeline`"):
        use_test_time_augmentation(cfg)


def test_predictions_are_written_by_every_metric():
    cfg = config()
    save_predictions(cfg, "folder")
    assert all(m.output_dir == "folder" and m.keep_results for m in cfg.test_evaluator)


def test_showing_needs_the_hook():
    cfg = config()
    show_predictions(cfg, show=False, show_dir="folder", wait_time=2)
    assert cfg.default_hooks.visualization.draw
    assert "show" not in cfg.default_hooks.visualization
    assert cfg.visualizer.save_dir == "folder"
    del cfg.default_hooks["visualization"]
    with pytest.raises(ValueError, match="need visualization="):
        show_predictions(cfg, show=True, show_dir=None, wait_time=2)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_saved_config_is_of_no_test_in_particular(small_config, small_run, tmp_path):
    """Case 01: the config that a test left wrote into that test's folder."""

    def run(cfg, checkpoint, folder, out=False):
        path = str(small_run / checkpoint)
        cfg = engine.load_config(cfg, str(tmp_path / folder))
        cfg = engine.for_this_run(engine.apply_domino(cfg))
        cfg.load_from = path
        if out:
            engine.save_predictions(cfg, str(tmp_path / "out"))
            cfg.custom_hooks.append(dict(type="DominoReportHook", out_dir=str(tmp_path / "r")))
        engine.record_results(cfg, path)
        engine.build_runner(cfg).test()
        return Config.fromfile(tmp_path / folder / "config.py", format_python_code=False)

    first = small_config(tmp_path / "a")
    first.load_from = "where the training began.pth"
    saved = run(first, "iter_4.pth", "a", out=True)
    before = {p: p.read_bytes() for p in (tmp_path / "a").iterdir() if p.is_file()}
    text = (tmp_path / "a" / "config.py").read_text()
    for word in ("results_file", "journal", "fingerprint", "output_dir", "Report", "iter_4.pth"):
        assert word not in text
    assert saved.load_from == "where the training began.pth"
    run(saved, "iter_1.pth", "b")
    assert {p: p.read_bytes() for p in before} == before
    assert results(tmp_path / "b")["run"]["checkpoint"].endswith("iter_1.pth")
    direct = small_config(tmp_path / "c")
    # A config that an older version saved names its own test's file.
    direct.test_evaluator.results_file = str(tmp_path / "a" / "results.json")
    run(direct, "iter_1.pth", "c")
    assert {p: p.read_bytes() for p in before} == before
    assert results(tmp_path / "b")["groups"] == results(tmp_path / "c")["groups"]


def test_a_training_that_was_resumed_saves_a_config_that_does_not_resume(small_config, tmp_path):
    cfg = small_config(tmp_path, resume=True, **{"train_cfg.max_iters": 1})
    engine.build_runner(cfg).train()
    assert Config.fromfile(tmp_path / "config.py").resume is False
    meta = torch.load(tmp_path / "iter_1.pth", weights_only=False)["meta"]
    assert "optim_wrapper.optimizer.lr" in json.loads(meta["settings"])


def test_images_whose_predictions_have_one_file_are_refused_before_the_test(
    small_config, small_run, tmp_path
):
    """Two processes, each with one of the images, would not notice."""
    cfg = small_config(tmp_path / "w", load_from=str(small_run / "iter_4.pth"))
    save_predictions(cfg, str(tmp_path / "out"))
    runner = engine.build_runner(cfg)
    dataset = runner.test_loop.dataloader.dataset
    load, place = dataset.get_data_info, "/elsewhere/0.png"
    dataset.get_data_info = lambda i: {
        **load(i),
        "img_path": place if i < 2 else load(i)["img_path"],
    }
    runner.test_loop.evaluator.metrics[0].writer.path("small/day", "/nowhere/0.png")
    runner.load_checkpoint = None  # it does not come to that
    with pytest.raises(ValueError, match=r"/elsewhere/0\.png and /nowhere/0\.png would both be"):
        runner.test()
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_second_test_that_writes_into_the_same_folder_is_refused(
    small_config, small_run, tmp_path
):
    cfg = small_config(tmp_path / "w", load_from=str(small_run / "iter_4.pth"))
    save_predictions(cfg, str(tmp_path / "out"))
    runner = engine.build_runner(cfg)
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path / "out",))
    process.start()
    try:
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        with pytest.raises(FolderInUseError, match=f"{tmp_path}/out is in use"):
            runner.test()
    finally:
        process.kill()
        process.join()


def hold(folder):
    with folder_lock(folder, "test", "another test"):
        (folder.parent / "held").touch()
        time.sleep(600)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("small/dya", r"'small/dya', and no image is of it; tested are small/day"),
        ("smal/day", "no image is of it"),
        ("cityscapes/clear_day", None),
        (None, None),
    ],
)
def test_a_mistyped_source_is_refused_before_the_test(
    small_config, small_run, source, message, tmp_path
):
    cfg = small_config(tmp_path, load_from=str(small_run / "iter_4.pth"))
    cfg.test_evaluator.source = source
    runner = engine.build_runner(cfg)
    if message is None:
        assert "mIoU" in runner.test()
        return
    runner.load_checkpoint = None  # it does not come to that
    with pytest.raises(ValueError, match=message):
        runner.test()
