import pytest
from mmengine.config import Config

from mmseg_domino.engine.testing import (
    save_predictions,
    show_predictions,
    use_test_time_augmentation,
)


def leaf(domain=None):
    tag = [dict(type="SetDomain", dataset="acdc", domain=domain)] if domain else []
    return dict(type="D", pipeline=[*tag, dict(type="LoadImageFromFile"), dict(type="Resize")])


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


def test_augmentation_reaches_every_data_set_and_keeps_its_domain():
    cfg = config()
    use_test_time_augmentation(cfg)
    fog, repeated, plain = cfg.test_dataloader.dataset.datasets
    types = [[t.type for t in d.pipeline] for d in (fog, repeated.dataset, plain)]
    augmented = ["LoadImageFromFile", "TestTimeAug"]
    assert types == [["SetDomain", *augmented], ["SetDomain", *augmented], augmented]
    assert [d.pipeline[0].domain for d in (fog, repeated.dataset)] == ["fog", "snow"]
    assert cfg.model.type == "SegTTAModel"
    assert cfg.model.module.type == "DominoEncoderDecoder"


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
