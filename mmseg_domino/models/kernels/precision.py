"""Keeping a computation in float32 whatever the surrounding autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing; PyTorch before 2.7 does not say."""
    return getattr(torch.compiler, "is_exporting", bool)()


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context without autocast; the meta device and exported graphs know none."""
    if device.type == "meta" or is_exporting():
        return nullcontext()
    # Not by torch.amp.is_autocast_available, which PyTorch 2.11 cannot compile.
    return torch.autocast(device.type, enabled=False)
