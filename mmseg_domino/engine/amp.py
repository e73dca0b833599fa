"""Automatic mixed precision, where it is faster."""

import time

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from torch.nn import functional as F

__all__ = ["bfloat16_slowdown", "enable_amp"]


@torch.no_grad()
def bfloat16_slowdown(channels: int = 32, size: int = 32) -> float:
    """How many times longer a convolution takes on this CPU in bfloat16 than in float32.

    Measured, since what a processor says of itself does not decide it: PyTorch's kernels must use
    it, too. Takes well under a second.

    Args:
        channels: Of the convolution.
        size: Height and width of its input.
    """
    times = {}
    for dtype in (torch.float32, torch.bfloat16):
        image = torch.ones(1, channels, size, size, dtype=dtype)
        kernel = torch.ones(channels, channels, 3, 3, dtype=dtype)
        best = float("inf")
        for _ in range(4):  # the first prepares kernels
            start = time.perf_counter()
            F.conv2d(image, kernel, padding=1)
            best = min(best, time.perf_counter() - start)
        times[dtype] = best
    return times[torch.bfloat16] / times[torch.float32]


def _why_not_on_cpu(slowdown: float) -> str:
    if slowdown > 1:
        reason = (
            "this CPU has no fast path for bfloat16: a convolution takes "
            f"{slowdown:.1f} times as long in it as in float32 (measured now)"
        )
    else:
        reason = (
            "MMEngine's AmpOptimWrapper runs on accelerators only, although this CPU has a path "
            f"for bfloat16 (a convolution takes {slowdown:.2f} of its time in float32)"
        )
    return (
        f"automatic mixed precision is refused on the CPU: {reason}. Train without it (leave --amp "
        "away), or on a GPU."
    )


def enable_amp(cfg: Config, dtype: str | None = None) -> None:
    """Turn a config's optimiser wrapper into one for automatic mixed precision, in place.

    Args:
        cfg: A config with ``optim_wrapper``.
        dtype: ``"float16"`` or ``"bfloat16"``. None takes bfloat16, which needs no loss scaling to
            be safe, where the device has it, else float16.

    Raises:
        RuntimeError: Without an accelerator, with the reason.
        ValueError: If the config has an optimiser wrapper of another kind.
    """
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ValueError(
            f"mixed precision needs optim_wrapper.type 'OptimWrapper' or 'AmpOptimWrapper', "
            f"got {kind!r}"
        )
    if get_device() == "cpu":
        raise RuntimeError(_why_not_on_cpu(bfloat16_slowdown()))
    if kind == "AmpOptimWrapper":
        print_log("the config uses AmpOptimWrapper already", logger="current")
        return
    if dtype is None:
        whole = not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
        dtype = "bfloat16" if whole else "float16"
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.dtype = dtype
    cfg.optim_wrapper.loss_scale = "dynamic"
