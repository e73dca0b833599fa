"""A resumed training goes on with what it began with, or says what is different."""

import logging

import pytest

from mmseg_domino import engine
from mmseg_domino.engine.resuming import (
    ResumeMismatchError,
    check_resumable,
    training_settings,
)


def check(old, **changes):
    new = old.copy()
    new.merge_from_dict(changes)
    return check_resumable(training_settings(old), new, "iter_2.pth")


@pytest.fixture
def cfg(small_config, tmp_path):
    return small_config(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim_wrapper.optimizer.lr", 0.1, r"Ignored.*lr was 0\.01 and is 0\.1"),
        ("param_scheduler", [dict(type="ConstantLR", factor=1)], r"Ignored.*param_scheduler\.0"),
        ("model.injection", "add", "Another model .*model.injection was None and is 'add'"),
        ("model.backbone.type", "MixVisionTransformer", "Another model or other data"),
        ("train_dataloader.dataset.pipeline.0.domain", "night", "other data: .*'day' and is"),
    ],
)
def test_what_would_be_ignored_or_another_training_is_refused(cfg, key, value, message):
    with pytest.raises(ResumeMismatchError, match=message) as error:
        check(cfg, **{key: value})
    assert "load_from='iter_2.pth' without --resume" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_cfg.max_iters", 9),
        ("train_dataloader.num_workers", 3),
        ("default_hooks.logger.interval", 7),
        ("test_evaluator.source", "a/b"),
        ("work_dir", "elsewhere"),
    ],
)
def test_what_does_not_matter_may_change(cfg, key, value):
    assert check(cfg, **{key: value}) is None


def test_places_and_batch_sizes_are_said(cfg):
    said = check(cfg, **{"train_dataloader.dataset.data_root": "/moved/data"})
    assert "data_root was" in said
    assert "'/moved/data'" in said
    assert "batch_size was 2 and is 4" in check(cfg, **{"train_dataloader.batch_size": 4})


def test_the_runner_refuses_says_and_goes_on(small_config, tmp_path, caplog):
    engine.build_runner(small_config(tmp_path, **{"train_cfg.max_iters": 2})).train()
    changed = small_config(tmp_path, resume=True, **{"optim_wrapper.optimizer.lr": 0.5})
    with pytest.raises(ResumeMismatchError, match=r"optimizer\.lr was 0\.01 and is 0\.5"):
        engine.build_runner(changed).train()
    runner = engine.build_runner(
        small_config(tmp_path, resume=True, **{"train_dataloader.batch_size": 1})
    )
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        runner.train()
    assert "train_dataloader.batch_size was 2 and is 1" in caplog.text
    assert (tmp_path / "iter_4.pth").is_file()
