"""What a resumed training may change."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..utils.configs import type_name

_PARTS = ("model", "data_preprocessor", "optim_wrapper", "param_scheduler", "train_dataloader")
#: Their state comes out of the checkpoint, and so do their numbers.
_RESTORED = ("optim_wrapper.", "param_scheduler.")
#: Another model, or other data.
_OTHER = ("model.", "data_preprocessor.", "train_dataloader.dataset.")
#: How data are fetched, not which.
_FETCHING = (
    "train_dataloader.num_workers", "train_dataloader.persistent_workers",
    "train_dataloader.pin_memory", "train_dataloader.prefetch_factor",
)  # fmt: skip


class ResumeMismatchError(ValueError):
    """A training cannot go on with other settings than it had; the message lists them."""


def training_settings(cfg: Config) -> str:
    """What a training does, to be kept in its checkpoints: JSON of values by dotted key."""
    return json.dumps(dict(_flat({key: cfg.get(key) for key in _PARTS})))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "type":
                yield f"{prefix}type", type_name(node)
            elif key != "_scope_":
                yield from _flat(value, f"{prefix}{key}.")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _flat(value, f"{prefix}{index}.")
    elif node is None or isinstance(node, bool | int | float | str):
        yield prefix[:-1], node
    else:
        yield prefix[:-1], getattr(node, "__name__", repr(node))


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or value.endswith((".safetensors", ".pth")))


def check_resumable(stored: str, cfg: Config, source: str) -> str | None:
    """Refuse to resume with settings that would be ignored, or make it another training.

    Returns what is different and takes effect from here: places of files, batch sizes.
    """
    old, new = json.loads(stored), json.loads(training_settings(cfg))
    keys = sorted({*old, *new} - set(_FETCHING))
    changed = {k: (old.get(k), new.get(k)) for k in keys if old.get(k) != new.get(k)}
    places = {k for k, values in changed.items() if any(map(_is_place, values))}
    ignored = [k for k in changed if k.startswith(_RESTORED)]
    other = [k for k in changed if k.startswith(_OTHER) and k not in places]
    if ignored or other:
        lines = [f"{source} was written with other settings than those given now."]
        if ignored:
            lines.append("Ignored, since the checkpoint brings its own: " + _list(changed, ignored))
        if other:
            lines.append("Another model or other data: " + _list(changed, other))
        lines.append(
            "Resume with the settings it had, or start a new training from its weights: "
            f"load_from={source!r} without --resume, in another work folder."
        )
        raise ResumeMismatchError("\n".join(lines))
    return _list(changed, changed) if changed else None


def _list(changed: Mapping, keys) -> str:
    return "; ".join(f"{k} was {changed[k][0]!r} and is {changed[k][1]!r}" for k in keys)
