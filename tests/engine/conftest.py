"""The small training, for tests of the runner."""

import pytest
from mmengine.config import Config

from mmseg_domino import engine
from tests.small_training import write_small_training


@pytest.fixture(scope="session")
def small_config(tmp_path_factory):
    """A function: work folder and overrides -> config of the small training."""
    path = write_small_training(tmp_path_factory.mktemp("training"))

    def config(work_dir, **changes):
        cfg = Config(Config.fromfile(path).to_dict(), filename=str(path), format_python_code=False)
        return engine.load_config(cfg, str(work_dir), changes)

    return config


@pytest.fixture(scope="session")
def small_run(small_config, tmp_path_factory):
    """The folder of a small training that nothing happened to, with all its checkpoints."""
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")
    folder = tmp_path_factory.mktemp("whole")
    keep = {"default_hooks.checkpoint.max_keep_ckpts": 5}
    engine.build_runner(small_config(folder, **keep)).train()
    return folder
