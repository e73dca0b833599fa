"""What training and testing share: config, distribution, runner."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import RUNNERS

from ..datasets import set_data_roots
from ..utils.configs import dictionaries
from .runner import DominoRunner


def load_config(
    config: str | Config,
    work_dir: str | None = None,
    overrides: Mapping | None = None,
    launcher: str = "none",
    data_root: str | Sequence[str] | None = None,
) -> Config:
    """A config as the command line changes it.

    Args:
        config: Config file, or what is in it.
        work_dir: Of the run; ``None`` for the config's, or else one named after its file.
        overrides: Settings by dotted key.
        launcher: Of a distributed run.
        data_root: Where the data are; see :func:`~mmseg_domino.datasets.set_data_roots`.

    Raises:
        ValueError: If ``data_root`` does not fit the data sets, or the config is a set.
    """
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    if "model" not in cfg and "conditions" in cfg:
        raise ValueError(
            f"{config} is a set of configs; name one with --condition: {', '.join(cfg.conditions)}"
        )
    cfg.launcher = launcher
    cfg.merge_from_dict(dict(overrides or {}))
    if data_root is not None:
        set_data_roots(cfg, [data_root] if isinstance(data_root, str) else data_root)
    # Priority: command line, config, the config's file name.
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(cfg.filename).stem)
    return cfg


def _distribute_on_cpu(cfg: Config) -> None:
    """Make a distributed run possible without a GPU.

    MMEngine's own set-up asks CUDA for a device in every case and wraps the model for one.
    """
    if cfg.launcher != "pytorch":
        raise RuntimeError(
            f"without a GPU only --launcher pytorch (torchrun, tools/dist_train.sh) is supported, "
            f"got --launcher {cfg.launcher}"
        )
    if not is_distributed():
        torch.distributed.init_process_group("gloo")
    wrapper = {"type": "MMDistributedDataParallel", **cfg.get("model_wrapper_cfg", {})}
    if wrapper["type"] == "MMDistributedDataParallel":
        wrapper["device_ids"] = None
        wrapper.setdefault("broadcast_buffers", False)
        wrapper.setdefault("find_unused_parameters", cfg.get("find_unused_parameters", False))
    cfg.model_wrapper_cfg = wrapper
    replaced = [node for node in dictionaries(cfg.model) if node.get("type") == "SyncBN"]
    for node in replaced:
        node["type"] = "BN"
    if replaced:
        print_log(
            f"SyncBN has no CPU implementation in PyTorch: {len(replaced)} norm layers of the "
            "config use BN instead, with each process's own batch statistics",
            logger="current",
        )


def build_runner(cfg: Config) -> Runner:
    """The runner that a config names, :class:`DominoRunner` if it names none."""
    if cfg.launcher != "none" and get_device() == "cpu":
        _distribute_on_cpu(cfg)
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    return RUNNERS.build(cfg) if "runner_type" in cfg else DominoRunner.from_cfg(cfg)
