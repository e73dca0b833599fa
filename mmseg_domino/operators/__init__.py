"""Stand-ins for mmcv's compiled operators, on PyTorch and torchvision.

``mmcv.ops`` loads a compiled module ``mmcv._ext``, and where mmcv was installed without it neither
Mask2Former nor PointRend, PSANet, CCNet or any detector can be imported. A finder at the end of
``sys.meta_path`` is asked for ``mmcv._ext`` only after every other one, so that a compiled module
always wins; where there is none, it offers the functions of :mod:`.extension`.

``MMSEG_DOMINO_OPERATORS=0`` in the environment, or :func:`unregister_operators` before ``mmcv.ops``
is imported, turns this off.

Nothing heavier than the standard library is imported here: the finder is put in place by
``import mmseg_domino``, which happens whenever Python starts.
"""

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["SWITCH", "register_operators", "unregister_operators", "which_operators"]

SWITCH = "MMSEG_DOMINO_OPERATORS"
_MODULE = "mmcv._ext"
_ORIGIN = "the stand-ins of mmseg_domino"


class _StandInFinder:
    """Offer the stand-ins under the name of mmcv's compiled module."""

    def find_spec(self, fullname, path, target=None) -> ModuleSpec | None:
        if fullname != _MODULE or os.environ.get(SWITCH) == "0":
            return None
        return ModuleSpec(fullname, self, origin=_ORIGIN)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from .extension import fill

        fill(module)


def register_operators() -> None:
    """Let the stand-ins be found where mmcv has no compiled operators. Safe to call again."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.append(_StandInFinder())


def unregister_operators() -> None:
    """Let mmcv be what it is without this package.

    Raises:
        RuntimeError: if ``mmcv.ops`` uses the stand-ins already.
    """
    if "mmcv.ops" in sys.modules and which_operators() == "stand-ins":
        raise RuntimeError(
            "mmcv.ops was imported with the stand-ins of mmseg_domino and keeps them: call "
            f"unregister_operators() before mmcv.ops is imported, or start with {SWITCH}=0"
        )
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _StandInFinder)]


def which_operators() -> str:
    """What ``mmcv.ops`` uses or would use: ``'compiled'``, ``'stand-ins'`` or ``'none'``."""
    from importlib.util import find_spec

    try:
        spec = find_spec(_MODULE)
    except ModuleNotFoundError:  # no mmcv at all
        spec = None
    if spec is None:
        return "none"
    return "stand-ins" if spec.origin == _ORIGIN else "compiled"
