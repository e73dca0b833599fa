"""Safetensors files as ``load_from``, which MMEngine does not read by itself."""

from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError
from safetensors.torch import load_file

__all__ = ["load_safetensors"]


# Without a colon: addresses of remote storage stay with MMEngine's own loaders.
@CheckpointLoader.register_scheme(prefixes=r"[^:]*\.safetensors$")
def load_safetensors(
    filename: str, map_location: str | torch.device | None = None
) -> dict[str, dict]:
    """Read a checkpoint from a safetensors file.

    Args:
        filename: The file.
        map_location: Device of the tensors.

    Returns:
        ``{"state_dict": tensors, "meta": {}}``, as MMEngine's checkpoints.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path} can not be found: there is no such checkpoint")
    try:
        state = load_file(path, device=str(map_location or "cpu"))
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from error
    return {"state_dict": state, "meta": {}}
