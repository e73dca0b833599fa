"""Parameter-efficient tuning, and checkpoints without what is frozen."""

from .frozen_state import keep_out_frozen

__all__ = ["keep_out_frozen"]
