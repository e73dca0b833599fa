"""Plain helpers that any room may use: no host framework, no models."""

from .io import TEMPORARY_PREFIX, atomic_write, write_text
from .paths import OutsideNameError, printable, resolve_below
from .text import read_mapping, read_text

__all__ = [
    "TEMPORARY_PREFIX",
    "OutsideNameError",
    "atomic_write",
    "printable",
    "read_mapping",
    "read_text",
    "resolve_below",
    "write_text",
]
