"""Domain-aware fine-tuning of foundation models (Domino) for MMSegmentation 1.x.

Importing the package is cheap, needs none of OpenMMLab's packages and downloads nothing. It makes
``mmseg::`` and ``mmseg_domino::`` usable as bases of a config (see :mod:`.config_bases`);
``mmseg_domino.plugin`` registers every part with MMSegmentation.
"""

from .config_bases import register_config_bases
from .version import __version__

register_config_bases()

__all__ = ["__version__", "register_config_bases"]
