"""Registers every part of the package with MMSegmentation's registries when imported.

A config asks for it with ``custom_imports = dict(imports=['mmseg_domino.plugin'])``.
"""

from . import datasets, engine, evaluation, models

__all__ = ["datasets", "engine", "evaluation", "models"]
