"""Every config and every condition of every set is complete, and a sweep can freeze it."""

from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from mmseg_domino.engine import apply_domino
from mmseg_domino.experiments import load_set
from mmseg_domino.experiments.record import config_hash, freeze_config

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = [p for p in sorted(CONFIGS.rglob("*.py")) if "_base_" not in p.parts]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(CONFIGS).as_posix())
def test_it_resolves_and_can_be_frozen(path, tmp_path):
    init_default_scope("mmseg")
    conditions = load_set(path)
    for name in conditions.conditions:
        config = conditions.resolve(name)
        assert freeze_config(tmp_path / name, config) == config_hash(config.to_dict())
        if "domino" in config and "model" in config:
            adapted = apply_domino(config)
            assert adapted.model.type.startswith("Domino")
            assert adapted.train_dataloader.dataset
            assert adapted.test_evaluator
