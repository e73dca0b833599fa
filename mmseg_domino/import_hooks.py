"""Act on a module of another package right after it is first imported.

Nothing heavier than the standard library is imported here, because a start-up file imports the
package whenever Python starts.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _ActingLoader:
    """Run the module's own loader, then the action."""

    def __init__(self, loader, action: Callable[[ModuleType], None]) -> None:
        self.loader, self.action = loader, action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.action(module)


class _ActingFinder:
    """Find one module, once, with a loader that runs the action."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name, self.action = name, action

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ActingLoader(spec.loader, self.action)
        return spec


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call ``action(module)``, which may run twice, now if ``name`` is loaded, else once it is."""
    module = sys.modules.get(name)
    if module is not None:
        action(module)
    elif not any(
        isinstance(finder, _ActingFinder) and (finder.name, finder.action) == (name, action)
        for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _ActingFinder(name, action))
