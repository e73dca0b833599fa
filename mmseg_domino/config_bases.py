"""Let ``mmseg::...`` and ``mmseg_domino::...`` stand in the ``_base_`` of a config.

MMEngine resolves such a base through the table ``mmengine.config.utils.MODULE2PACKAGE``, which
knows only OpenMMLab's own distributions: a third party's module is refused, and ``mmseg`` is
looked for under the distribution name ``mmsegmentation`` even where the maintained continuation
``onedl-mmsegmentation`` provides it. A config's bases are read before its ``custom_imports``, so
the table must be right before any config is opened. Nothing heavier than the standard library is
imported here: the table is completed when MMEngine itself is first imported.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["complete_package_table", "register_config_bases"]

_TABLE_MODULE = "mmengine.config.utils"
_MODULE = "mmseg_domino"
#: Modules whose distribution may carry another name than the one MMEngine expects.
_DISTRIBUTIONS = {
    "mmseg": ("mmsegmentation", "onedl-mmsegmentation"),
    "mmpretrain": ("mmpretrain", "onedl-mmpretrain"),
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
    """Add this package to MMEngine's ``module -> distribution`` table and correct renamed ones.

    Args:
        table: ``mmengine.config.utils.MODULE2PACKAGE``, changed in place. An entry whose
            distribution is installed is left as it is.
    """
    table.setdefault(_MODULE, _MODULE)
    for module, names in _DISTRIBUTIONS.items():
        if not _is_installed(table.get(module, names[0])):
            installed = next((name for name in names if _is_installed(name)), None)
            if installed is not None:
                table[module] = installed


class _CompletingLoader:
    """Run the module's own loader, then complete the table in it."""

    def __init__(self, loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        complete_package_table(module.MODULE2PACKAGE)


class _TableFinder:
    """Find MMEngine's config utilities, once, with a loader that completes their table."""

    def find_spec(self, fullname, path, target=None):
        if fullname != _TABLE_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _CompletingLoader(spec.loader)
        return spec


def register_config_bases() -> None:
    """Complete MMEngine's table now, or as soon as MMEngine is imported. Safe to call again."""
    module = sys.modules.get(_TABLE_MODULE)
    if module is not None:
        complete_package_table(module.MODULE2PACKAGE)
    elif not any(isinstance(finder, _TableFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableFinder())
