"""Reading weight files: whole ones only, and never running what a pickle says."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ...utils.checkpoints import read_pickle


def check_safetensors(path: str | Path) -> None:
    """Refuse a safetensors file that is not whole."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
        if length is None or length + 8 > size or length > 100 * 2**20:
            raise ValueError(
                f"{path} is no whole safetensors file: it ends within its header, after {size} "
                "bytes. Fetch it again; was the download cut off?"
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{path} is no safetensors file: its header is no JSON") from error
    ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ValueError(
            f"{path} is not whole: found {size} bytes, expected {expected}. Fetch it again; was "
            "the download cut off?"
        )


def _read_safetensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    check_safetensors(path)
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if wanted(key)}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error


def _read_pickle(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    content = read_pickle(path, mmap=True)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected tensors by name")
    return {k: v for k, v in content.items() if isinstance(v, Tensor) and wanted(k)}


def read_state_dict(
    path: str | Path, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.ckpt``, ``.pt``, ``.pth`` or ``.bin`` file.

    Nothing in a pickle is run. A ``state_dict`` inside is found.

    Args:
        path: The file.
        wanted: Which names to read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut off, of another kind, or would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, wanted)
    return _read_pickle(path, wanted)


def _some(names: list[str]) -> str:
    return f"{len(names)}, the first: {', '.join(names[:4])}" if names else "none"


def load_parameters(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Give a module, built on the meta device, its weights in float32, each exactly once."""
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unexpected = sorted(set(state) - set(own))
    unlike = [
        f"{key} (found {tuple(state[key].shape)}, expected {tuple(own[key].shape)})"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or unexpected or unlike:
        raise ValueError(
            f"{where} does not fit the {type(module).__name__} it was taken for. Missing: "
            f"{_some(missing)}. Unexpected: {_some(unexpected)}. Of another shape: "
            f"{_some(unlike)}."
        )
    # A copy even of float32: the file may be memory-mapped, and training writes to parameters.
    module.load_state_dict(
        {k: v.to(torch.float32, copy=True) for k, v in state.items()}, assign=True
    )
