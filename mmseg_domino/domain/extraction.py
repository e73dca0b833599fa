"""Embedding all images of a data set into a store, in a way that survives being killed.

Every batch of the plan, when done, becomes a file beside the store; the last step merges them.

Shapes: ``B`` images of a batch, ``E`` width of the joint space.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..utils.images import DamagedImageError, read_image
from ..utils.locks import folder_lock
from ..utils.processes import on_first, process_rank
from .encoder import DomainEncoder
from .extraction_plan import DamagedImagesError, Plan, begin, merge, read_batch, write_batch
from .store import EmbeddingStore


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


def extract(
    images: Mapping[str, str | os.PathLike],
    encoder: DomainEncoder,
    out: str | os.PathLike,
    batch_size: int = 64,
    workers: int = 2,
    skip_bad: bool = False,
    progress: bool = False,
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
        progress: Whether the first process shows how far it is.

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
        on_first(lambda: held.enter_context(lock))
        while True:
            plan = on_first(lambda: begin(images, encoder, out, batch_size, report.damaged))
            if plan is None:
                break
            _run(plan, images, encoder, out, workers, skip_bad, progress, report)
            report.damaged = _gather(report.damaged)
            if report.damaged and not skip_bad:
                raise DamagedImagesError(report.damaged, out)
            added, damaged = on_first(lambda: merge(plan, encoder.text, out))  # noqa: B023  (now)
            report.added += added
            report.damaged |= damaged
    report.images = on_first(lambda: len(EmbeddingStore.open(out)) if out.is_file() else 0)
    return report


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
    plan: Plan,
    images: Mapping,
    encoder: DomainEncoder,
    out: Path,
    workers: int,
    skip_bad: bool,
    progress: bool,
    report: ExtractionReport,
) -> None:
    """Compute this process's share of the batches that have no file yet."""
    (rank, world), batches = process_rank(), plan.batches
    # Found by the first: another might see batches already that are done meanwhile.
    todo = on_first(lambda: [n for n, ks in enumerate(batches) if read_batch(out, n, ks) is None])
    mine = [(number, batches[number]) for number in todo[rank::world]]
    total = sum(len(keys) for _, keys in mine)
    start = time.perf_counter()
    loader = decode_loader(mine, images, encoder, workers)
    with tqdm(total=total, unit="image", disable=not progress or rank > 0) as bar:
        for number, keys, rows, damaged in _embedded(loader, encoder, report):
            report.damaged |= damaged
            report.computed += len(keys)
            bar.update(len(keys) + len(damaged))
            if skip_bad or not damaged:  # the file says that the batch is done
                write_batch(out, number, keys, rows, damaged)
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


def _embedded(
    loader: DataLoader, encoder: DomainEncoder, report: ExtractionReport
) -> Iterator[tuple[int, list[str], Tensor, dict[str, str]]]:
    """The loader's batches with their embeddings, on the host, in place of the pixels.

    The device gets its next batch before the last one's result is waited for.
    """
    batches, pending = iter(loader), None
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        report.waiting += time.perf_counter() - start
        coming = None
        if batch is not None:
            number, keys, pixels, damaged = batch
            rows = encoder.encode_pixels(pixels) if len(pixels) else torch.empty(0, 0)
            coming = number, keys, *_to_host(rows), damaged
        if pending is not None:
            number, keys, rows, arrived, damaged = pending
            if arrived is not None:
                arrived.synchronize()
            yield number, keys, rows, damaged
        if coming is None:
            return
        pending = coming


def _to_host(embeddings: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy that is under way, behind which more work may be queued, and what says it arrived."""
    if not embeddings.is_cuda:
        return embeddings.contiguous(), None
    host = torch.empty(embeddings.shape, dtype=embeddings.dtype, pin_memory=True)
    host.copy_(embeddings, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(embeddings.device))
    return host, arrived


def _gather(damaged: dict[str, str]) -> dict[str, str]:
    """Everybody's damaged images; also waits until all processes are done."""
    _, world = process_rank()
    gathered: list = [damaged] * world
    if world > 1:
        distributed.all_gather_object(gathered, damaged)
    return dict(sorted(item for each in gathered for item in each.items()))
