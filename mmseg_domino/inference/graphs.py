"""Exported graphs as plain functions of NumPy arrays."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

#: Arrays by the graph's input names -> arrays in the order of its outputs.
Graph = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


def open_graph(
    path: str | os.PathLike, kind: str, device: str = "cpu", threads: int | None = None
) -> Graph:
    """Load an exported graph.

    Args:
        path: Its file.
        kind: ``"onnx"`` or ``"torch"``.
        device: ``"cpu"``, or such as ``"cuda"`` or ``"cuda:1"``.
        threads: On a CPU; None for the library's own choice. PyTorch's are those of the process.

    Raises:
        ImportError: If onnxruntime, or PyTorch, is not installed.
        ValueError: If the format is unknown or the device is not there.
    """
    if kind not in _OPENERS:
        raise ValueError(f"unknown format {kind!r} of a graph; known are {', '.join(_OPENERS)}")
    return _OPENERS[kind](Path(path), device, threads)


def _open_onnx(path: Path, device: str, threads: int | None) -> Graph:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "an ONNX model runs with onnxruntime: pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    providers: list = ["CPUExecutionProvider"]
    if device != "cpu":
        name, _, index = device.partition(":")
        provider = f"{name.upper()}ExecutionProvider"
        known = onnxruntime.get_available_providers()
        if provider not in known:
            raise ValueError(
                f"onnxruntime has no provider for device {device!r}; it has {', '.join(known)} "
                "(for CUDA: pip install onnxruntime-gpu)"
            )
        providers.insert(0, (provider, {"device_id": int(index or 0)}))
    session = onnxruntime.InferenceSession(str(path), options, providers)
    return lambda arrays: session.run(None, dict(arrays))


def _open_torch(path: Path, device: str, threads: int | None) -> Graph:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "this model was exported for PyTorch: pip install torch, or export it with "
            "--format onnx"
        ) from error
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for and PyTorch sees no CUDA device")
    if threads is not None:
        torch.set_num_threads(threads)
    program = torch.export.load(path)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    module = program.module()

    def run(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            outputs = module(**tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [output.cpu().numpy() for output in outputs]

    return run


_OPENERS = {"onnx": _open_onnx, "torch": _open_torch}
