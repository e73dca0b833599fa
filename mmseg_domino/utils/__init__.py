"""Plain helpers that any room may use: no host framework, no models."""

from .io import atomic_write

__all__ = ["atomic_write"]
