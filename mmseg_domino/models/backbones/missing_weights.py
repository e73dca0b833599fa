"""Saying what to do when the weights of a stock backbone are missing.

MMEngine fetches a URL as soon as it is asked for, knows nothing of being offline, and lets the
network's own errors through.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import torch
from huggingface_hub import constants as hub
from mmengine.runner.checkpoint import get_external_models
from torch import nn


@contextmanager
def explain_missing_weights(backbone: nn.Module) -> Iterator[None]:
    """Around MMEngine's ``init_weights()``: fetch nothing when offline, and explain what fails."""
    url = _url(backbone)
    cached = None if url is None else Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if cached is not None and hub.HF_HUB_OFFLINE and not cached.is_file():
        raise FileNotFoundError(_how_to_fetch(backbone, url, cached, "HF_HUB_OFFLINE is set"))
    try:
        yield
    except OSError as error:  # URLError, timeouts and refused connections are all OSErrors
        if cached is None or isinstance(error, FileNotFoundError):
            raise
        raise FileNotFoundError(_how_to_fetch(backbone, url, cached, str(error))) from error


def _url(backbone: nn.Module) -> str | None:
    """Where the weights of ``init_cfg`` are fetched from; ``None`` for a file or none."""
    init_cfg = getattr(backbone, "init_cfg", None)
    if not isinstance(init_cfg, dict) or init_cfg.get("type") != "Pretrained":
        return None
    name = str(init_cfg["checkpoint"])
    for scheme in ("open-mmlab://", "openmmlab://"):
        if name.startswith(scheme):
            name = str(get_external_models().get(name.removeprefix(scheme), ""))
    return name if urlparse(name).scheme in ("http", "https") else None


def _how_to_fetch(backbone: nn.Module, url: str, cached: Path, why: str) -> str:
    return (
        f"the weights of {type(backbone).__name__} are not at {cached} and were not fetched "
        f"({why}). On a machine with a network run\n"
        f"    python -c \"import torch; torch.hub.load_state_dict_from_url('{url}')\"\n"
        "and copy the file here (TORCH_HOME moves the folder); or name a file of your own: "
        "model.backbone.init_cfg.checkpoint=PATH."
    )
