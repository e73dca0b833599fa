"""Plain helpers that any room may use: no host framework, no models."""

from .io import TEMPORARY_PREFIX, atomic_write
from .paths import OutsideNameError, printable, resolve_below

__all__ = ["TEMPORARY_PREFIX", "OutsideNameError", "atomic_write", "printable", "resolve_below"]
