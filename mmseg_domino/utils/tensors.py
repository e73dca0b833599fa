"""Tensors in safetensors files: errors name the file, and the package's own have a checksum."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .io import atomic_write
from .paths import printable

#: The metadata entry that describes a file of this package, as JSON.
_ENTRY = "mmseg_domino"


@contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[Any]:
    """``safetensors.safe_open``, whose errors name the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, cut off or of another kind, or lacks a tensor.
    """
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{printable(path)} cannot be read as safetensors ({error}); it is damaged, cut off or "
            "of another kind: fetch or make it again"
        ) from error


def checksum(described: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a description and tensors by name, shape, type and value."""
    digest = hashlib.sha256(described.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(memoryview(tensor.contiguous().numpy()).cast("B") if tensor.numel() else b"")
    return digest.hexdigest()


def write_tensors(
    path: str | os.PathLike, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Write tensors and what describes them (JSON values), whole or not at all."""
    described = json.dumps(description, sort_keys=True)
    content = {**description, "sha256": checksum(described, tensors)}
    with atomic_write(path) as temporary:
        save_file(
            dict(tensors), temporary, metadata={_ENTRY: json.dumps(content, sort_keys=True)}
        )  # fmt: skip


def read_tensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_tensors` was given.

    A file of another program has no description and so no checksum; its tensors are taken.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; names the file.
    """
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        description = dict(json.loads(metadata.get(_ENTRY, "{}")))
        stated = description.pop("sha256", None)
        described = json.dumps(description, sort_keys=True)
        if description and stated != checksum(described, tensors):
            raise ValueError("its checksum is wrong")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{printable(path)} is damaged ({error})") from error
    return tensors, description
