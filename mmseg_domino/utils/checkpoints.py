"""Reading PyTorch's own files without running anything that is in them.

A ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` file is a pickle, and a pickle is a program. Only
tensors, plain values and the types that a caller names are built from one; whatever needs more is
refused.
"""

import io
import pickle
import shlex
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

_CONVERT = (
    'python -c "import sys, torch, safetensors.torch as s; d = torch.load(sys.argv[1], '
    "weights_only=False, map_location='cpu'); d = d.get('state_dict', d); s.save_file({k: "
    'v.contiguous().clone() for k, v in d.items() if isinstance(v, torch.Tensor)}, sys.argv[2])" '
)


class MissingWeightsError(FileNotFoundError):
    """Weights are neither here nor may be fetched; the message says how to get them."""


class CheckpointError(ValueError):
    """A file that is no whole checkpoint."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint that would have to run code to be read."""


def read_pickle(
    source: str | Path | IO[bytes],
    allowed: Mapping[str, Callable] | None = None,
    map_location: Any = "cpu",
    name: str | None = None,
    mmap: bool = False,
) -> Any:
    """Read what ``torch.save`` wrote, without running what it may hold.

    ``allowed`` has further types and functions that may be built or called, by the full name that
    the file has for them.
    """
    if isinstance(source, str | Path):
        source = Path(source).expanduser()
        name = name or str(source)
        if not source.is_file():
            raise FileNotFoundError(f"{source} can not be found: there is no such checkpoint")
    try:
        # PyTorch before 1.6 wrote no zip files, and those cannot be mapped.
        zipped = zipfile.is_zipfile(source)
        if zipped:
            _check_checksums(source)
        mapped = {"mmap": True} if mmap and zipped else {}
        return _load(source, allowed or {}, map_location=map_location, **mapped)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(_refusal(str(name), str(error))) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        raise CheckpointError(
            f"{name} cannot be read as a PyTorch checkpoint: {_first_line(error)}. It is damaged "
            "or cut off; fetch or copy it again, or take an earlier one."
        ) from error


def _check_checksums(source: Path | IO[bytes]) -> None:
    """Compare the archive's checksums, which PyTorch writes and does not read."""
    with zipfile.ZipFile(source) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its part {damaged} is wrong")
    if not isinstance(source, str | Path):
        source.seek(0)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _refusal(name: str, reason: str) -> str:
    target = str(Path(name).with_suffix(".safetensors"))
    return (
        f"{name} is a pickle that holds more than tensors and plain values, so reading it would "
        "run code from the file; it is refused. If you trust whoever made it, turn it into "
        f"safetensors once:\n    {_CONVERT}{shlex.quote(name)} {shlex.quote(target)}\n"
        f"(It asks for: {_what_was_asked(reason)})"
    )


def _what_was_asked(reason: str) -> str:
    """The line of PyTorch's message that says what it met, without its advice to read it anyway."""
    lines = [line.strip() for line in reason.splitlines()]
    found = next((line for line in lines if "error: " in line), lines[0])
    return found.split("error: ", 1)[-1].split(" was not an allowed")[0]


def _load(source: Path | IO[bytes], allowed: Mapping[str, Callable], **options: Any) -> Any:
    if is_torchscript(source):
        raise pickle.UnpicklingError("it is a TorchScript archive, which is a program")
    with torch.serialization.safe_globals([(value, key) for key, value in allowed.items()]):
        return torch.load(source, weights_only=True, **options)


def is_torchscript(source: str | Path | IO[bytes]) -> bool:
    """Whether a file is an archive of ``torch.jit.save``."""
    if not isinstance(source, str | Path):
        copy = io.BytesIO(source.read())
        source.seek(0)
        source = copy
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _ScriptedModule:
    """Stands for any module of a TorchScript archive: its attributes and none of its code."""

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _ScriptedModule):
                yield from value.tensors(f"{prefix}{name}.")


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by name, on the CPU.

    ``torch.jit.load`` would compile and run what is in the archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            root = _ScriptUnpickler(archive, data.removesuffix(".pkl") + "/").load()
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(_refusal(str(path), str(error))) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a TorchScript archive: {_first_line(error)}. It is damaged "
            "or cut off; fetch it again."
        ) from error
    if not isinstance(root, _ScriptedModule):
        raise CheckpointError(f"{path} holds a {type(root).__name__}, expected a scripted module")
    return dict(root.tensors())


class _ScriptUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(folder[:-1] + ".pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _ScriptedModule
        if module == "torch" and name.endswith("Storage"):
            return name
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return torch._utils._rebuild_tensor_v2
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        raise pickle.UnpicklingError(f"unsupported global: {module}.{name}")

    def persistent_load(self, identity: tuple) -> torch.TypedStorage:
        _, kind, key, _, count = identity
        dtype = getattr(torch, kind).dtype
        data = torch.frombuffer(bytearray(self.archive.read(self.folder + key)), dtype=dtype)
        return torch.TypedStorage(wrap_storage=data[:count].untyped_storage(), dtype=dtype)
