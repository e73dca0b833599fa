"""The command ``domino``.

The modules of this room parse arguments and print; the other rooms do the work. They import nothing
heavier than click until a command runs, so that help and completion answer at once.
"""

from .main import main

__all__ = ["main"]
