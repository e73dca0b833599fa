"""Embedding all images of a data set into a store, in a way that survives being killed.

The images that the store lacks are sorted and cut into batches once, in a *plan*; every batch, when
done, becomes a file of its own beside the store; the last step merges them. A batch is never
computed in another composition than the plan's, by whichever process and after however many
restarts: so the same machine gives the same bytes.

Shapes: ``B`` images of a batch, ``M`` images of the store, ``E`` width of the joint space.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from ..utils.images import DamagedImageError, read_image
from ..utils.json_files import read_json, write_json
from ..utils.locks import folder_lock
from ..utils.tensors import read_tensors, write_tensors
from .encoder import DomainEncoder
from .maker import check_same_maker
from .store import EmbeddingStore, write_store

_PLAN_FORMAT = "mmseg_domino.extraction/1"


class DamagedImagesError(RuntimeError):
    """Some images could not be decoded; nothing of the others' work is lost."""

    def __init__(self, damaged: Mapping[str, str], out: Path) -> None:
        self.damaged = dict(damaged)
        listed = "\n".join(f"    {key}: {reason}" for key, reason in self.damaged.items())
        super().__init__(
            f"{len(self.damaged)} images are damaged:\n{listed}\nRepair them, or leave them out "
            f"with --skip-bad, and start again: what is done is kept in {_part_folder(out)}."
        )


@dataclass
class ExtractionReport:
    """What an extraction did.

    Attributes:
        images: Images in the store.
        added: Images that this run put into it, including what earlier runs had begun.
        computed: Images that this process computed itself.
        damaged: The reason by key of images that were skipped.
        seconds: Of this process, for ``computed`` images.
        waiting: Seconds of these in which the encoder waited for decoded images.
    """

    images: int = 0
    added: int = 0
    computed: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    waiting: float = 0.0

    @property
    def limit(self) -> str:
        """What set the pace: ``'decoding'`` or ``'encoder'``."""
        return "decoding" if self.waiting > 0.1 * self.seconds else "encoder"


@dataclass(frozen=True)
class _Plan:
    """The images to add, in batches that no restart changes."""

    keys: tuple[str, ...]
    batch_size: int
    provenance: dict

    @property
    def batches(self) -> list[tuple[str, ...]]:
        size = self.batch_size
        return [self.keys[i : i + size] for i in range(0, len(self.keys), size)]


def extract(
    images: Mapping[str, str | os.PathLike],
    encoder: DomainEncoder,
    out: str | os.PathLike,
    batch_size: int = 64,
    workers: int = 2,
    skip_bad: bool = False,
    progress: type | None = None,
) -> ExtractionReport:
    """Add to a store the embeddings of the images that it lacks.

    With ``torch.distributed`` initialised the batches are shared among the processes; each needs
    its own encoder.

    Args:
        images: File by key; the key is the path relative to the data root, POSIX.
        encoder: Of the store's model and bank, on the device to use.
        out: The store's path; it is made or added to. Beside it, ``<out>.part`` holds what is done
            until all is.
        batch_size: Images at once. A plan that was begun keeps its own.
        workers: Processes that decode; 0 decodes in this one.
        skip_bad: Leave damaged images out. Otherwise the rest is computed and then the error says
            which they are; the store is not written.
        progress: ``tqdm`` or a class with its interface; ``None`` for silence.

    Returns:
        This process's report; ``images``, ``added`` and ``damaged`` are of all processes.

    Raises:
        DamagedImagesError: If images are damaged and ``skip_bad`` is false.
        FolderInUseError: If another extraction into the store is at work.
        ValueError: If the store, or what was begun, is of another model or bank, or what was begun
            has images that are not among ``images``.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(f"a store's name ends in .safetensors, got {out}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    report = ExtractionReport()
    with ExitStack() as held:
        lock = folder_lock(out.parent, out.name, "extraction")
        _on_first(lambda: held.enter_context(lock))
        while True:
            plan = _on_first(lambda: _begin(images, encoder, out, batch_size, report.damaged))
            if plan is None:
                break
            _run(plan, images, encoder, out, workers, skip_bad, progress, report)
            report.damaged = _gather(report.damaged)
            if report.damaged and not skip_bad:
                raise DamagedImagesError(report.damaged, out)
            added, damaged = _on_first(lambda: _merge(plan, encoder, out))  # noqa: B023  (now)
            report.added += added
            report.damaged |= damaged
    report.images = _on_first(lambda: len(EmbeddingStore.open(out)) if out.is_file() else 0)
    return report


def _part_folder(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _begin(
    images: Mapping, encoder: DomainEncoder, out: Path, batch_size: int, skipped: Mapping
) -> _Plan | None:
    """The plan that was begun, or a new one, or None if the store has all."""
    part = _part_folder(out)
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
        content = read_json(part / "plan.json", _PLAN_FORMAT, remedy)
        plan = _Plan(tuple(content["keys"]), content["batch_size"], content["provenance"])
        if have.issuperset(plan.keys):
            shutil.rmtree(part)  # killed between writing the store and clearing up
        else:
            _check_plan(plan, images, maker, part)
            return plan
    # What was found damaged a moment ago would be found so for ever.
    keys = tuple(sorted(set(images) - have - set(skipped)))
    if not keys:
        return None
    plan = _Plan(keys, batch_size, maker | {"versions": encoder.versions(), "date": _today()})
    write_json(part / "plan.json", _PLAN_FORMAT, vars(plan))
    return plan


def _check_plan(plan: _Plan, images: Mapping, maker: dict, part: Path) -> None:
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


class _Batches(Dataset):
    """Decoded and preprocessed batches, for worker processes."""

    def __init__(self, batches: Sequence, images: Mapping, transform, channels_size: tuple) -> None:
        self.batches = batches  # (number, keys)
        self.images = images
        self.transform = transform
        self.channels_size = channels_size

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[int, list[str], Tensor, dict[str, str]]:
        number, keys = self.batches[index]
        good, pixels, damaged = [], [], {}
        for key in keys:
            try:
                image = read_image(self.images[key])
            except DamagedImageError as error:
                damaged[key] = error.reason
                continue
            except OSError as error:
                damaged[key] = str(error)
                continue
            good.append(key)
            pixels.append(self.transform(Image.fromarray(image)))
        stacked = torch.stack(pixels) if pixels else torch.empty(0, *self.channels_size)
        return number, good, stacked, damaged


def _run(
    plan: _Plan,
    images: Mapping,
    encoder: DomainEncoder,
    out: Path,
    workers: int,
    skip_bad: bool,
    progress: type | None,
    report: ExtractionReport,
) -> None:
    """Compute this process's share of the batches that have no file yet."""
    part = _part_folder(out)
    rank, world = _rank()
    todo = [
        (number, keys)
        for number, keys in enumerate(plan.batches)
        if _read_batch(part, number, keys) is None
    ]
    mine = todo[rank::world]
    loader = decode_loader(mine, images, encoder, workers)
    total = sum(len(keys) for _, keys in todo)
    bar = _Progress(progress if rank == 0 else None, total, world)
    start = time.perf_counter()
    pending = None
    for number, keys, pixels, damaged, waited in _timed(loader):
        report.waiting += waited
        # The device gets its next batch before the last one's result is waited for.
        result = _Result(encoder.encode_pixels(pixels) if len(pixels) else torch.empty(0, 0))
        if pending is not None:
            _finish(part, *pending, skip_bad, report, bar)
        pending = (number, keys, result, damaged)
    if pending is not None:
        _finish(part, *pending, skip_bad, report, bar)
    bar.close()
    report.seconds += time.perf_counter() - start


def decode_loader(
    mine: Sequence[tuple[int, Sequence[str]]],
    images: Mapping[str, str | os.PathLike],
    encoder: DomainEncoder,
    workers: int,
) -> DataLoader:
    """Decoded and preprocessed batches, in order.

    Returns:
        A loader of tuples: the batch's number, the keys of its whole images, their pixels
        ``(B, 3, S, S)``, and the reason by key of its damaged ones.
    """
    needed = {key: str(images[key]) for _, keys in mine for key in keys}
    size = encoder.preprocessing["size"]
    shape = (3, size, size) if isinstance(size, int) else (3, *size)
    return DataLoader(
        _Batches(mine, needed, encoder.transform, shape),
        batch_size=None,
        num_workers=min(workers, len(mine)),
        pin_memory=encoder.device.type == "cuda",
        prefetch_factor=4 if workers and mine else None,
    )


def _timed(loader: DataLoader) -> Iterator[tuple]:
    """The loader's batches, and how long each was waited for."""
    batches = iter(loader)
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield (*batch, time.perf_counter() - start)


class _Result:
    """Embeddings on their way from the device, behind which more work may be queued."""

    def __init__(self, embeddings: Tensor) -> None:
        self._done = None
        if embeddings.is_cuda:
            host = torch.empty(embeddings.shape, dtype=embeddings.dtype, pin_memory=True)
            host.copy_(embeddings, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(embeddings.device))
            embeddings = host
        self._host = embeddings.contiguous()

    def get(self) -> Tensor:
        """The embeddings on the host, once they are there."""
        if self._done is not None:
            self._done.synchronize()
        return self._host


def _finish(
    part: Path,
    number: int,
    keys: list[str],
    result: "_Result",
    damaged: dict[str, str],
    skip_bad: bool,
    report: ExtractionReport,
    bar: "_Progress",
) -> None:
    embeddings = result.get()  # before it is counted as done
    report.damaged.update(damaged)
    report.computed += len(keys)
    bar.update(len(keys) + len(damaged))
    if damaged and not skip_bad:
        return  # its file would say that the batch is done
    description = {"keys": keys, "damaged": damaged}
    write_tensors(_batch_path(part, number), {"image": embeddings}, description)


def _batch_path(part: Path, number: int) -> Path:
    return part / f"batch-{number:07d}.safetensors"


def _read_batch(
    part: Path, number: int, planned: Sequence[str]
) -> tuple[list[str], Tensor, dict[str, str]] | None:
    """A finished batch; None if it is not there, or damaged by a crash of the machine."""
    path = _batch_path(part, number)
    if not path.is_file():
        return None
    try:
        tensors, description = read_tensors(path)
        keys, damaged, rows = description["keys"], description["damaged"], tensors["image"]
    except (KeyError, ValueError):
        return None
    return (keys, rows, damaged) if {*keys, *damaged} == set(planned) else None


def _merge(plan: _Plan, encoder: DomainEncoder, out: Path) -> tuple[int, dict[str, str]]:
    """Write the store from what it had and the finished batches."""
    part = _part_folder(out)
    keys: list[str] = []
    rows: list[Tensor] = []
    damaged: dict[str, str] = {}
    for number, planned in enumerate(plan.batches):
        batch_keys, batch_rows, batch_damaged = _read_batch(part, number, planned)
        keys += batch_keys
        damaged |= batch_damaged
        if len(batch_rows):
            rows.append(batch_rows)
    added, skipped = len(keys), damaged
    text, provenance = encoder.text, plan.provenance
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
    whole = part / "store.safetensors"
    write_store(whole, keys, torch.cat(rows), text, provenance | {"skipped": skipped})
    os.replace(whole, out)
    shutil.rmtree(part)
    return added, damaged


class _Progress:
    """A progress bar over all processes, drawn by the first."""

    def __init__(self, bar: type | None, total: int, world: int) -> None:
        self.world, self.total = world, total
        self.bar = None if bar is None else bar(total=total, unit="image", smoothing=0.1)

    def update(self, count: int) -> None:
        if self.bar is not None:
            # The processes take turns at the batches, so the others are as far.
            self.bar.update(min(count * self.world, self.total - self.bar.n))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _rank() -> tuple[int, int]:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _on_first(function):
    """Run in the first process and give all its result; an error there is raised in all."""
    rank, world = _rank()
    if world == 1:
        return function()
    result: list = [None, None]
    if rank == 0:
        try:
            result[0] = function()
        except Exception as error:
            result[1] = error
    distributed.broadcast_object_list(result)
    if result[1] is not None:
        raise result[1]
    return result[0]


def _gather(damaged: dict[str, str]) -> dict[str, str]:
    """Everybody's damaged images; also waits until all processes are done."""
    rank, world = _rank()
    if world == 1:
        return dict(sorted(damaged.items()))
    gathered: list = [None] * world
    distributed.all_gather_object(gathered, damaged)
    merged: dict[str, str] = {}
    for each in gathered:
        merged |= each
    return dict(sorted(merged.items()))
