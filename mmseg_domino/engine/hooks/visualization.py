"""Pictures of predictions under names that every backend can write."""

from typing import Any

from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS

from ...utils import printable


@HOOKS.register_module()
class PrintableVisualizationHook(SegVisualizationHook):
    """MMSegmentation's hook for images whose names hold bytes that are no UTF-8.

    The writers behind the visualiser end the process at such a name, or fail. :class:`DominoRunner`
    puts this hook in the place of the host's; the arguments are the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._visualizer = _Printable(self._visualizer)


class _Printable:
    """A visualiser that is given names as they can be printed."""

    def __init__(self, visualizer: Any) -> None:
        self._visualizer = visualizer

    def add_datasample(self, name: str, *args: Any, **kwargs: Any) -> None:
        self._visualizer.add_datasample(printable(name), *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._visualizer, name)
