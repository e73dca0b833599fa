"""Let ``mmseg::...`` and ``mmseg_domino::...`` stand in the ``_base_`` of a config.

MMEngine resolves such a base through the table ``mmengine.config.utils.MODULE2PACKAGE``, which
knows only OpenMMLab's own distributions: a third party's module is refused, and ``mmseg`` is
looked for under the distribution name ``mmsegmentation`` even where the maintained continuation
``onedl-mmsegmentation`` provides it. A config's bases are read before its ``custom_imports``, so
the table must be right before any config is opened: it is completed when MMEngine itself is first
imported. What such a base says is then built in the scope ``mmseg_domino``; see
:mod:`mmseg_domino.registry`.
"""

import sys
from importlib import import_module
from types import ModuleType

from .import_hooks import after_import

#: Modules that take over the function which splits the name of a base.
_USERS = ("mmengine.config.config", "mmengine.hub.hub")
_MODULE = "mmseg_domino"
#: Modules whose distribution may carry another name than the one MMEngine expects.
_DISTRIBUTIONS = {
    "mmseg": ("mmsegmentation", "onedl-mmsegmentation"),
    "mmpretrain": ("mmpretrain", "onedl-mmpretrain"),
    "mmdet": ("mmdet", "onedl-mmdetection"),
}


def _is_installed(name: str) -> bool:
    # Only now: it takes most of what importing this package would, at every start of Python.
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def complete_package_table(table: dict[str, str]) -> None:
    """Add this package to MMEngine's ``module -> distribution`` table and correct renamed ones."""
    table.setdefault(_MODULE, _MODULE)
    for module, names in _DISTRIBUTIONS.items():
        if not _is_installed(table.get(module, names[0])):
            installed = next((name for name in names if _is_installed(name)), None)
            if installed is not None:
                table[module] = installed


def accept_configs_at_the_root(module: ModuleType) -> None:
    """Let ``mmseg_domino::domino_vpd_cityscapes.py`` be a base: MMEngine insists on a folder.

    A config with any base of this package also registers its parts, as ``custom_imports`` would,
    which a base cannot bring along: MMEngine lets no two bases define a key.
    """
    original = getattr(module, "_get_package_and_cfg_path", None)
    if original is None or hasattr(original, "__wrapped__"):
        return  # not imported that far, or done

    def split(cfg_path: str) -> tuple[str, str]:
        package, _, name = cfg_path.partition("::")
        if package == _MODULE:
            import_module("mmseg_domino.plugin")
        if package == _MODULE and name and "/" not in name:
            return original(f"{package}::folder/{name}")[0], name
        return original(cfg_path)

    split.__wrapped__ = original
    module._get_package_and_cfg_path = split


def _complete(module: ModuleType) -> None:
    complete_package_table(module.MODULE2PACKAGE)
    accept_configs_at_the_root(module)
    for name in _USERS:  # if they are loaded, they have the function under a name of their own
        if name in sys.modules:
            accept_configs_at_the_root(sys.modules[name])


def register_config_bases() -> None:
    """Complete MMEngine's table now, or as soon as MMEngine is imported. Safe to call again."""
    after_import("mmengine.config.utils", _complete)
