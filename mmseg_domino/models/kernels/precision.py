"""Keeping a computation in float32 whatever the surrounding autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager:
    """A context without autocast; the meta device knows none and needs nothing."""
    # Not by torch.amp.is_autocast_available, which PyTorch 2.11 cannot compile.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
