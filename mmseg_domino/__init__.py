"""Domain-aware fine-tuning of foundation models (Domino) for MMSegmentation 1.x.

Importing the package is cheap, needs none of OpenMMLab's packages and downloads nothing.
``mmseg_domino.plugin`` registers every part with MMSegmentation.
"""

from .version import __version__

__all__ = ["__version__"]
