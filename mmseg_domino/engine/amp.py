"""Automatic mixed precision, where the hardware computes in it."""

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from .cpu_amp import enable_on_cpu


def enable_amp(cfg: Config, dtype: str | None = None) -> None:
    """Turn a config's optimiser wrapper into one for automatic mixed precision, in place.

    Args:
        cfg: A config with ``optim_wrapper``.
        dtype: ``"float16"`` or ``"bfloat16"``. None takes bfloat16, which needs no loss scaling to
            be safe, where the device has it, else float16.

    Raises:
        RuntimeError: On a CPU without hardware for bfloat16, and for float16 on any CPU.
        ValueError: If the config has an optimiser wrapper of another kind, or for another dtype.
    """
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper", "CPUAmpOptimWrapper"):
        raise ValueError(
            f"mixed precision needs optim_wrapper.type 'OptimWrapper' or 'AmpOptimWrapper', "
            f"got {kind!r}"
        )
    if dtype not in (None, "float16", "bfloat16"):
        raise ValueError(f"mixed precision is in 'float16' or 'bfloat16', got {dtype!r}")
    if get_device() == "cpu":
        enable_on_cpu(cfg, dtype)
        return
    if kind == "AmpOptimWrapper":
        print_log("the config uses AmpOptimWrapper already", logger="current")
        return
    if dtype is None:
        whole = not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
        dtype = "bfloat16" if whole else "float16"
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.dtype = dtype
    cfg.optim_wrapper.loss_scale = "dynamic"
