"""What ``tools/train.py`` and ``tools/test.py`` share: arguments, config, distribution, runner."""

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from mmseg.registry import RUNNERS

from ..datasets import leaf_datasets

__all__ = ["add_common_arguments", "build_runner", "load_config"]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that MMSegmentation's own tools share."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--work-dir", help="folder for logs, checkpoints and results (default: work_dirs/CONFIG)"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="override settings of the config as KEY=VALUE; lists as key=[a,b] or key=a,b",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher of a distributed run",
    )
    parser.add_argument(
        "--data-root", help="where the data are, for configs whose data sets share one root"
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def load_config(args: argparse.Namespace) -> Config:
    """The config that the common arguments describe.

    Args:
        args: Parsed arguments of :func:`add_common_arguments`.

    Returns:
        The config with ``launcher``, ``work_dir`` and the command line's overrides in it.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.data_root is not None:
        _set_data_root(cfg, args.data_root)
    # Priority: command line, config, the config's file name.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    return cfg


def _set_data_root(cfg: Config, root: str) -> None:
    loaders = (cfg.get(f"{split}_dataloader") for split in ("train", "val", "test"))
    datasets = [d for loader in loaders for d in leaf_datasets(loader)]
    roots = sorted({str(d.get("data_root")) for d in datasets})
    if len(roots) > 1:
        raise ValueError(
            f"--data-root moves a config whose data sets share one root, and this one has {roots}; "
            "put links there, or set each with --cfg-options"
        )
    for dataset in datasets:
        dataset["data_root"] = root


def _replace_sync_bn(node: object) -> int:
    """Turn every ``SyncBN`` of a config into ``BN``; return how many there were."""
    if isinstance(node, list | tuple):
        return sum(_replace_sync_bn(child) for child in node)
    if not isinstance(node, dict):
        return 0
    count = sum(_replace_sync_bn(child) for child in node.values())
    if node.get("type") == "SyncBN":
        node["type"] = "BN"
        count += 1
    return count


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
    wrapper["device_ids"] = None
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault("find_unused_parameters", cfg.get("find_unused_parameters", False))
    cfg.model_wrapper_cfg = wrapper
    replaced = _replace_sync_bn(cfg.model)
    if replaced:
        print_log(
            f"SyncBN has no CPU implementation in PyTorch: {replaced} norm layers of the config "
            "use BN instead, with each process's own batch statistics",
            logger="current",
        )


def build_runner(cfg: Config) -> Runner:
    """The runner that a config names, MMEngine's if it names none.

    Args:
        cfg: A full config, as :func:`load_config` returns it.
    """
    if cfg.launcher != "none" and get_device() == "cpu":
        _distribute_on_cpu(cfg)
    if cfg.get("custom_imports"):
        import_modules_from_strings(**cfg.custom_imports)
    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
