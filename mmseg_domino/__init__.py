"""Domain-aware fine-tuning of foundation models (Domino) for MMSegmentation 1.x.

Importing the package is cheap, needs none of OpenMMLab's packages and downloads nothing. It makes
``mmseg::`` and ``mmseg_domino::`` usable as bases of a config (see :mod:`.config_bases`), lets
``mmcv.ops`` work without mmcv's compiled operators (:mod:`.operators`) and mmpretrain beside
transformers 5 (:mod:`.host_versions`); ``mmseg_domino.plugin`` registers every part with
MMSegmentation.
"""

from .config_bases import register_config_bases
from .host_versions import register_host_versions
from .operators import register_operators
from .version import __version__

register_config_bases()
register_host_versions()
register_operators()

__all__ = ["__version__", "register_config_bases"]
