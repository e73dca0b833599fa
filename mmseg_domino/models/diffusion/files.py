"""Reading weight files: whole ones only, and never running what a pickle says."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...utils.checkpoints import read_pickle
from ...utils.tensors import open_tensors


def read_state_dict(
    path: str | Path, wanted: Callable[[str], bool] = lambda key: True
) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.ckpt``, ``.pt``, ``.pth`` or ``.bin`` file.

    Nothing in a pickle is run. A ``state_dict`` inside is found. Only names that are ``wanted``
    are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is cut off, of another kind, or would have to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        with open_tensors(path) as file:
            return {key: file.get_tensor(key) for key in file.keys() if wanted(key)}  # noqa: SIM118
    content = read_pickle(path, mmap=True)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected tensors by name")
    return {k: v for k, v in content.items() if isinstance(v, Tensor) and wanted(k)}


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
