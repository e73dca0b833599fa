"""Giving a model its weights: all of them, or an error that lists what does not fit."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..utils.hashes import file_sha256
from .sharding import share_like

_LISTED = 8


class CheckpointMismatchError(ValueError):
    """A checkpoint of another model; the message lists the keys that do not fit."""


class NonFiniteWeightsError(ValueError):
    """Weights are NaN or infinite, so whatever a model says with them means nothing."""


@dataclass(frozen=True)
class LoadReport:
    """What came out of a checkpoint.

    Attributes:
        source: Its file or address.
        sha256: Of the file; ``None`` for an address.
        loaded: How many tensors it gave to the model.
        frozen: How many frozen weights it leaves out on purpose, which are those that the model
            was built with.
        new: How many tensors begin untrained because ``new_parts`` says so.
        new_parts: The parts that they are of.
    """

    source: str
    sha256: str | None
    loaded: int
    frozen: int = 0
    new: int = 0
    new_parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        content = f" (sha256 {self.sha256[:12]})" if self.sha256 else ""
        text = f"{self.loaded} tensors from {self.source}{content}"
        if self.frozen:
            text += f"; {self.frozen} frozen ones are not in it and stay as the model was built"
        if self.new:
            text += f"; {self.new} begin untrained ({', '.join(self.new_parts)})"
        return text


def read_and_load(
    model: nn.Module, source: str | Path, device: Any = "cpu", new_parts: Sequence[str] = ()
) -> tuple[dict, LoadReport]:
    """Read a checkpoint and give a model its weights.

    Raises:
        CheckpointMismatchError: As :func:`load_weights`.
        NonFiniteWeightsError: As :func:`load_weights`.
    """
    checkpoint = CheckpointLoader.load_checkpoint(str(source), map_location=device)
    return checkpoint, load_weights(model, checkpoint, str(source), new_parts)


def load_weights(
    model: nn.Module, checkpoint: Mapping, source: str, new_parts: Sequence[str] = ()
) -> LoadReport:
    """Give a model the weights of a checkpoint that has all of them and no others.

    What may be missing is what the model itself leaves out of its checkpoints (frozen weights), and
    what ``new_parts`` names. Some keys more or less would leave random weights in the model, whose
    figures look like figures.

    Args:
        model: Also wrapped for distribution or test-time augmentation.
        checkpoint: With ``state_dict``, or such a dictionary itself.
        source: Where it is from, for the messages and the report.
        new_parts: Beginnings of the names of parts that may be missing, or of another shape: they
            keep the values that they have. For a start of training from another model.

    Raises:
        CheckpointMismatchError: If keys are missing, left over or of another shape, or a name of
            ``new_parts`` is nothing in the model.
        NonFiniteWeightsError: If the checkpoint holds NaN or infinite weights.
    """
    model = unwrapped(model)
    state = _state_of(checkpoint, source)
    new_parts = tuple(new_parts)
    own = model.state_dict()
    _check_parts(new_parts, own)
    check_finite(state, source)
    unlike = {
        key: f"{key} (found {tuple(state[key].shape)}, expected {tuple(own[key].shape)})"
        for key in own
        if key in state and state[key].shape != own[key].shape
    }
    read = {k: share_like(own.get(k), v) for k, v in state.items() if k not in unlike}
    if hasattr(checkpoint.get("state_dict"), "_metadata"):
        read = type(checkpoint["state_dict"])(read)
        read._metadata = checkpoint["state_dict"]._metadata
    try:
        missing, unexpected = model.load_state_dict(read, strict=False)
    except RuntimeError as error:  # shapes that only the module itself knows of
        raise CheckpointMismatchError(f"{source} does not fit the model: {error}") from error
    missing = [k for k in missing if "num_batches_tracked" not in k and k not in unlike]
    lacking = [k for k in (*missing, *unlike) if not k.startswith(new_parts or ("\0",))]
    left_over = [k for k in unexpected if not k.startswith(new_parts or ("\0",))]
    if lacking or left_over:
        raise CheckpointMismatchError(
            _mismatch(source, state, own, missing, left_over, unlike, lacking)
        )
    return LoadReport(
        source,
        file_sha256(source) if Path(source).is_file() else None,
        loaded=len(read) - len(unexpected),
        frozen=_left_out(model, state, {*missing, *unlike}),
        new=len(missing) + len(unlike),
        new_parts=new_parts,
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of what distribution and test-time augmentation wrap around it."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def check_finite(state: Mapping[str, Any], source: str) -> None:
    """Refuse weights that are NaN or infinite."""
    bad = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not _is_finite(value)
    ]
    if bad:
        raise NonFiniteWeightsError(
            f"{source} holds weights that are NaN or infinite: {_some(bad)}. The training has "
            "diverged; go on from an earlier checkpoint, with a lower learning rate, gradient "
            "clipping (optim_wrapper.clip_grad) or without half precision."
        )


def _is_finite(value: Tensor) -> bool:
    if isinstance(value, DTensor):
        value = value.to_local()
    return bool(torch.isfinite(value).all())


def _state_of(checkpoint: Mapping, source: str) -> dict[str, Tensor]:
    content = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(content, Mapping):
        raise CheckpointMismatchError(f"{source} holds no `state_dict`, so it is no checkpoint")
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointMismatchError(f"{source} holds no weights")
    # Distributed wrappers put it before every name.
    return {re.sub(r"^module\.", "", k): v for k, v in tensors.items()}


def _check_parts(new_parts: tuple[str, ...], own: Mapping) -> None:
    for part in new_parts:
        if not part or not any(key.startswith(part) for key in own):
            raise CheckpointMismatchError(
                f"new_parts names {part!r}, and nothing in the model begins so; its parts are "
                f"{', '.join(_parts(own))}"
            )


def _left_out(model: nn.Module, state: Mapping, new: set[str]) -> int:
    """How many frozen parameters are not in a state dict that fits all the same."""
    frozen = (
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in model.named_modules()
        for name in getattr(module, "_frozen_names", ())
    )
    return sum(name not in state and name not in new for name in frozen)


def _parts(keys: Iterable[str]) -> list[str]:
    """The beginnings of names, two levels deep, in order."""
    return list(dict.fromkeys(".".join(key.split(".")[:2]) for key in keys))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _mismatch(source, state, own, missing, left_over, unlike, lacking) -> str:
    lines = [f"{source} does not fit the model, which would be left with random weights."]
    if missing:
        lines.append(f"Missing ({len(missing)}): {_some(missing)}.")
    if unlike:
        lines.append(f"Of another shape ({len(unlike)}): {_some(list(unlike.values()))}.")
    if left_over:
        lines.append(f"Unknown to the model ({len(left_over)}): {_some(left_over)}.")
    if not set(state) & set(own):
        first = Counter(key.split(".")[0] for key in state).most_common(1)[0][0]
        lines.append(
            f"No key fits: those of the checkpoint begin with '{first}.', those of the model with "
            f"{', '.join(sorted({key.split('.')[0] for key in own}))}. Is it the checkpoint of "
            "another kind of model?"
        )
    lines.append("Give the checkpoint that was trained with this config.")
    if lacking and set(state) & set(own):
        parts = [*_parts(lacking), *(p for p in _parts(left_over) if p not in _parts(lacking))]
        lines.append(
            f"To start a training from it, with the rest untrained, say so: new_parts={parts!r}."
        )
    return "\n".join(lines)
