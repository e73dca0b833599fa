"""MMEngine's ways to a checkpoint, none of which runs what is in the file.

Importing this module replaces MMEngine's own loaders: where the safe way of reading fails, they
fall back to the one that runs the pickle, and before PyTorch 2.6 they know no other. All that goes
through ``CheckpointLoader`` is served: ``load_from``, ``--resume``, ``init_cfg`` of type
``Pretrained``, ``mmseg.apis.init_model``. Safetensors files are read as well.
"""

import io
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    _get_mmengine_home,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from ..utils.checkpoints import CheckpointError, read_pickle
from ..utils.tensors import open_tensors


def _statistic(kind: type, name: str) -> Callable:
    """``getattr`` for what message hubs use it for: the methods of a history buffer."""
    if kind is not HistoryBuffer or name.startswith("_"):
        raise ValueError(f"getattr of {name!r} is not allowed in a checkpoint")
    return getattr(kind, name)


def training_types() -> dict[str, Callable]:
    """What MMEngine's training checkpoints hold beside tensors and plain values.

    The history of losses in the message hub, and NumPy's numbers and arrays, under the names of
    NumPy 1 and 2.
    """
    core = getattr(np, "_core", None) or np.core
    allowed: dict[str, Callable] = {
        "mmengine.logging.history_buffer.HistoryBuffer": HistoryBuffer,
        "builtins.getattr": _statistic,
        "builtins.slice": slice,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed[f"{module}._reconstruct"] = core.multiarray._reconstruct
        allowed[f"{module}.scalar"] = core.multiarray.scalar
    for code in "?bBhHiIlLqQefdFDSU":
        kind = type(np.dtype(code))
        allowed[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return allowed


def load_from_local(filename: str | os.PathLike, map_location: Any = None) -> Any:
    """Read a checkpoint file."""
    location = "cpu" if map_location is None else map_location
    return read_pickle(Path(filename), training_types(), location)


# Without a colon: addresses of remote storage stay with their own loaders.
@CheckpointLoader.register_scheme(prefixes=r"[^:]*\.safetensors$", force=True)
def load_from_safetensors(
    filename: str, map_location: str | torch.device | None = None
) -> dict[str, dict]:
    """Read a checkpoint from a safetensors file.

    Returns:
        ``{"state_dict": tensors, "meta": {}}``, as MMEngine's checkpoints.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} can not be found: there is no such checkpoint")
    device = torch.device(map_location or "cpu")
    with open_tensors(path) as file:
        state = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
    return {"state_dict": state, "meta": {}}


def _load_from_http(url: str, map_location: Any = None, model_dir: str | None = None) -> Any:
    folder = Path(model_dir or Path(torch.hub.get_dir(), "checkpoints"))
    path = folder / url.split("?")[0].rsplit("/", 1)[-1]
    if is_main_process() and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=True)
    barrier()
    return load_from_local(path, map_location)


def _load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    name = filename.split("://", 1)[1]
    name = get_deprecated_model_names().get(name, name)
    place = _known(get_external_models(), name, filename)
    if place.startswith(("http://", "https://")):
        return _load_from_http(place, map_location)
    return load_from_local(Path(_get_mmengine_home(), place), map_location)


def _load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    url = _known(get_torchvision_models(), filename.split("://", 1)[1], filename)
    return _load_from_http(url, map_location)


def _load_from_mmcls(filename: str, map_location: Any = None) -> dict[str, dict]:
    url = _known(get_mmcls_models(), filename.split("://", 1)[1], filename)
    content = _load_from_http(url, map_location)
    state = content.get("state_dict", content)
    part = {k: v for k, v in state.items() if k.startswith("backbone.")}
    return {"state_dict": {k.removeprefix("backbone."): v for k, v in part.items()}}


def _known(places: Mapping[str, str], name: str, filename: str) -> str:
    if name not in places:
        raise FileNotFoundError(f"{filename} can not be found: no model is known by this name")
    return places[name]


def _load_from_storage(filename: str, map_location: Any = None, backend: str = "petrel") -> Any:
    content = get_file_backend(filename, backend_args={"backend": backend}).get(filename)
    location = "cpu" if map_location is None else map_location
    return read_pickle(io.BytesIO(content), training_types(), location, name=filename)


def _refuse_pavi(filename: str, map_location: Any = None) -> Any:
    raise ValueError(f"{filename}: download the checkpoint first, and give the file")


def newest_checkpoint(folder: str | os.PathLike) -> str | None:
    """The checkpoint that a training in a folder goes on from.

    It is the newest file that can be read whole and holds a training's state. What
    ``last_checkpoint`` says does not matter, as a kill may have left it empty or behind; but if
    the folder has no such file, those of the folder that it names are looked at. (Not before: a
    copied folder still names the one it was copied from.)

    Returns:
        Its path; ``None`` if there are no checkpoints.

    Raises:
        CheckpointError: If there are, and none can be read.
    """
    folder, unreadable = Path(folder), []
    for path in (path for place in _places(folder) for path in _newest_first(place)):
        try:
            _check_resumable(path)
        except CheckpointError as error:
            print_log(f"passed over: {error}", logger="current", level=logging.WARNING)
            unreadable.append(path.name)
        else:
            return str(path)
    if unreadable:
        raise CheckpointError(
            f"none of the checkpoints in {folder} can be read ({', '.join(unreadable)}). Delete "
            "them to start anew, or give another with load_from."
        )
    return None


def _places(folder: Path) -> list[Path]:
    last = folder / "last_checkpoint"
    # Damaged, it names no folder; a name need not be UTF-8, and none holds a zero byte.
    named = os.fsdecode(last.read_bytes()).strip() if last.is_file() else ""
    elsewhere = Path(named).parent if named and "\0" not in named else folder
    return [folder] if elsewhere == folder else [folder, elsewhere]


def _newest_first(folder: Path) -> list[Path]:
    files = [p for p in folder.glob("*.pth") if not p.name.startswith((".", "best_"))]
    return sorted(files, key=lambda p: (p.stat().st_mtime_ns, _step(p)), reverse=True)


def _step(path: Path) -> int:
    return int((re.findall(r"\d+", path.stem) or ["0"])[-1])


def _check_resumable(path: Path) -> None:
    """Refuse what is damaged anywhere, or holds weights alone."""
    content = read_pickle(path, training_types(), mmap=True)
    if not isinstance(content, Mapping) or not {"meta", "message_hub"} <= set(content):
        raise CheckpointError(f"{path} holds no state of a training, only weights")


for _prefixes, _loader in (
    ("", load_from_local),
    (("http://", "https://"), _load_from_http),
    (("open-mmlab://", "openmmlab://"), _load_from_openmmlab),
    (("modelzoo://", "torchvision://"), _load_from_torchvision),
    ("mmcls://", _load_from_mmcls),
    ([r"(\S+\:)?s3://", r"(\S+\:)?petrel://"], _load_from_storage),
    ("pavi://", _refuse_pavi),
):
    CheckpointLoader.register_scheme(_prefixes, _loader, force=True)
