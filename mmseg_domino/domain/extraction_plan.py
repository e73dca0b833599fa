"""What of an extraction is done, in files beside its store: the plan, and a file for each batch.

The images that the store lacks are sorted and cut into batches once, in the *plan*. A batch is
never computed in another composition than the plan's, by whichever process and after however many
restarts: so the same machine gives the same bytes.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from ..utils.json_files import read_json, write_json
from ..utils.tensors import read_tensors, write_tensors
from .encoder import DomainEncoder
from .maker import check_same_maker
from .sources import DomainText
from .store import EmbeddingStore, write_store

_FORMAT = "mmseg_domino.extraction/1"


class DamagedImagesError(RuntimeError):
    """Some images could not be decoded; nothing of the others' work is lost."""

    def __init__(self, damaged: Mapping[str, str], out: Path) -> None:
        self.damaged, self.out = dict(damaged), out
        listed = "\n".join(f"    {key}: {reason}" for key, reason in self.damaged.items())
        super().__init__(
            f"{len(self.damaged)} images are damaged:\n{listed}\nRepair them, or leave them out "
            f"with --skip-bad, and start again: what is done is kept in {part_folder(out)}."
        )

    def __reduce__(self):
        return DamagedImagesError, (self.damaged, self.out)  # it goes to the other processes


@dataclass(frozen=True)
class Plan:
    """The images to add, in batches that no restart changes."""

    keys: tuple[str, ...]
    batch_size: int
    provenance: dict

    @property
    def batches(self) -> list[tuple[str, ...]]:
        size = self.batch_size
        return [self.keys[i : i + size] for i in range(0, len(self.keys), size)]


def part_folder(out: Path) -> Path:
    """Where the plan and the finished batches are until the store is written."""
    return out.with_name(out.name + ".part")


def begin(
    images: Mapping, encoder: DomainEncoder, out: Path, batch_size: int, skipped: Mapping
) -> Plan | None:
    """The plan that was begun, or a new one, or None if the store has all but the skipped."""
    part = part_folder(out)
    maker = encoder.provenance()
    have: set[str] = set()
    if out.is_file():
        store = EmbeddingStore.open(out)
        check_same_maker(
            store.provenance,
            maker,
            f"the store {out}",
            "Embeddings of different makers cannot be compared: write to another --out.",
        )
        have = set(store.keys)
    if part.is_dir() and not (part / "plan.json").is_file():
        shutil.rmtree(part)  # killed while clearing up
    if (part / "plan.json").is_file():
        remedy = f"remove the folder {part} to begin anew; {out} itself is as it was"
        content = read_json(part / "plan.json", _FORMAT, remedy)
        plan = Plan(tuple(content["keys"]), content["batch_size"], content["provenance"])
        if have.issuperset(plan.keys):
            shutil.rmtree(part)  # killed between writing the store and clearing up
        else:
            _check_plan(plan, images, maker, part)
            return plan
    # What was found damaged a moment ago would be found so for ever.
    keys = tuple(sorted(set(images) - have - set(skipped)))
    if not keys:
        return None
    plan = Plan(keys, batch_size, maker | {"versions": encoder.versions(), "date": _today()})
    write_json(part / "plan.json", _FORMAT, vars(plan))
    return plan


def _check_plan(plan: Plan, images: Mapping, maker: dict, part: Path) -> None:
    remedy = f"Remove the folder {part} to begin anew, or run with what it was begun with."
    check_same_maker(plan.provenance, maker, f"the unfinished extraction {part}", remedy)
    foreign = [key for key in plan.keys if key not in images]
    if foreign:
        raise ValueError(
            f"the unfinished extraction {part} has {len(foreign)} images that are not among those "
            f"now given, the first: {foreign[0]}. {remedy}"
        )


def _today() -> str:
    # A day, not a time: a run that is repeated gives the same file. The variable is the usual one
    # for builds that are to be reproduced on another day.
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = float(epoch) if epoch else time.time()
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d")


def _batch_path(out: Path, number: int) -> Path:
    return part_folder(out) / f"batch-{number:07d}.safetensors"


def write_batch(out: Path, number: int, keys: list[str], rows: Tensor, damaged: Mapping) -> None:
    """Note that a batch is done: the keys of its whole images, their embeddings, the damaged."""
    write_tensors(
        _batch_path(out, number), {"image": rows}, {"keys": keys, "damaged": dict(damaged)}
    )


def read_batch(
    out: Path, number: int, planned: Sequence[str]
) -> tuple[list[str], Tensor, dict[str, str]] | None:
    """A finished batch; None if it is not there, or damaged by a crash of the machine."""
    path = _batch_path(out, number)
    if not path.is_file():
        return None
    try:
        tensors, description = read_tensors(path)
        keys, damaged, rows = description["keys"], description["damaged"], tensors["image"]
    except (KeyError, ValueError):
        return None
    return (keys, rows, damaged) if {*keys, *damaged} == set(planned) else None


def merge(plan: Plan, text: DomainText, out: Path) -> tuple[int, dict[str, str]]:
    """Write the store from what it had and the finished batches.

    Returns:
        How many images were added, and the reasons by key of those that were not.
    """
    keys: list[str] = []
    rows: list[Tensor] = []
    damaged: dict[str, str] = {}
    for number, planned in enumerate(plan.batches):
        batch_keys, batch_rows, batch_damaged = read_batch(out, number, planned)
        keys += batch_keys
        damaged |= batch_damaged
        if len(batch_rows):
            rows.append(batch_rows)
    added, skipped, provenance = len(keys), damaged, plan.provenance
    if out.is_file():
        store = EmbeddingStore.open(out)
        keys += store.keys
        rows.append(store.images())
        text, provenance = store.text, store.provenance
        skipped = provenance.get("skipped", {}) | damaged
    if not keys:
        raise DamagedImagesError(damaged, out)
    known = set(keys)
    skipped = {key: reason for key, reason in sorted(skipped.items()) if key not in known}
    # Written inside the part folder, so that a kill here leaves nothing else behind.
    part = part_folder(out)
    whole = part / "store.safetensors"
    write_store(whole, keys, torch.cat(rows), text, provenance | {"skipped": skipped})
    os.replace(whole, out)
    shutil.rmtree(part)
    return added, damaged
