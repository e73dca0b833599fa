"""Pictures of predictions under names that every backend can write, and seen to be written."""

from pathlib import Path
from typing import Any

from mmengine.visualization import LocalVisBackend
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS

from ...utils import printable
from ...utils.disk import FolderNotWritableError, free_space
from ...utils.images import DamagedImageError, check_image


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
    """A visualiser that is given names as they can be printed, and whose pictures are checked."""

    def __init__(self, visualizer: Any) -> None:
        self._visualizer = visualizer

    def add_datasample(self, name: str, *args: Any, step: int = 0, **kwargs: Any) -> None:
        name = printable(name)
        pictures = [
            # `experiment` is the backend itself, with its folder made
            Path(backend.experiment._img_save_dir, f"{name}_{step}.png")
            for backend in self._visualizer._vis_backends.values()
            if isinstance(backend, LocalVisBackend)
        ]
        for path in pictures:
            path.unlink(missing_ok=True)
        self._visualizer.add_datasample(name, *args, step=step, **kwargs)
        for path in pictures:
            _check_written(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._visualizer, name)


def _check_written(path: Path) -> None:
    """The host's backend drops the result of ``cv2.imwrite``, all that tells of a failure."""
    try:
        check_image(path.read_bytes(), path)
    except (FileNotFoundError, DamagedImageError) as error:
        raise FolderNotWritableError(
            f"{path} could not be written ({free_space(path)} free on the disk). Make room, make "
            "its folder writable for you, or give another one."
        ) from error
