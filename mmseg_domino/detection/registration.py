"""The package's parts in mmdet's registries.

A config of mmdet is built in the scope ``mmdet``, where names of MMSegmentation's scope are not
known. What this package adds to the latter is added here to the former.
"""

import mmdet.registry
import mmseg.registry
from mmengine.registry import Registry

from .. import datasets, engine, evaluation, models  # noqa: F401  register their parts

_PACKAGE = __name__.partition(".")[0]


def register_with_mmdet() -> None:
    """Register everything of this package that MMSegmentation's registries know."""
    for name, registry in vars(mmseg.registry).items():
        target = getattr(mmdet.registry, name, None)
        if not isinstance(registry, Registry) or not isinstance(target, Registry):
            continue
        for key, part in registry.module_dict.items():
            if part.__module__.partition(".")[0] == _PACKAGE and key not in target.module_dict:
                target.register_module(name=key, module=part)
