"""From labelled images, a generator and a gate to a data set on disk.

Several processes share the work; a killed run goes on where it was.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..domain import PromptBank
from .colours import LabelValuesError, class_colours, control_image
from .generators import Generated, Generator, Request
from .prompts import NEGATIVE_PROMPT, caption_classes, check_domains, image_seed, make_prompt
from .quality import QualityGate, blank_problem, duplicates
from .source import LabelledImages
from .tree import Record, RecordWriter, SynthesisTree

#: PNG bytes of a photograph per pixel, for the estimate of the disk that is needed.
_BYTES_PER_PIXEL = 2.0
_LABELS_LOOKED_AT = 3
#: Stands between a source's name and the number of its further images.
_FURTHER = "__"


@dataclass(frozen=True)
class Plan:
    """What to make.

    Attributes:
        domains: Keys of the bank.
        bank: Prompts of the domains.
        per_label: Images of each label and domain.
        seed: Of the whole.
        negative_prompt: What not to show.
        caption: Put the true classes of each label into its prompt.
        colours: Control colours of classes that the table does not have.
        limit: Source images at most, spread evenly over the data set; ``None`` for all.
        batch_size: Images at once.
        min_free: GiB of disk that shall stay free.
    """

    domains: Sequence[str]
    bank: PromptBank
    per_label: int = 1
    seed: int = 0
    negative_prompt: str = NEGATIVE_PROMPT
    caption: bool = True
    colours: dict | None = None
    limit: int | None = None
    batch_size: int = 1
    min_free: float = 2.0

    def __post_init__(self) -> None:
        check_domains(self.bank, self.domains)
        for name in ("per_label", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1 or None, got {self.limit}")

    def describe(self) -> dict:
        """What the images depend on; more domains, labels or images a label may follow later."""
        return {
            "bank": self.bank.name,
            "bank_sha256": self.bank.sha256,
            "seed": self.seed,
            "negative_prompt": self.negative_prompt,
            "caption": self.caption,
            "colours": self.colours or {},
        }


@dataclass(frozen=True)
class SynthesisReport:
    """What a run came to.

    Attributes:
        records: All images of the folder, sorted.
        made: Images that this process made in this run.
    """

    records: list[Record]
    made: int

    def count(self, status: str) -> Counter:
        """Images by domain."""
        return Counter(record.domain for record in self.records if record.status == status)


@dataclass(frozen=True)
class _Task:
    source: int
    name: str
    domain: str
    index: int

    @property
    def stem(self) -> str:
        return self.name if self.index == 0 else f"{self.name}{_FURTHER}{self.index}"


def synthesise(
    source: LabelledImages,
    generator: Generator,
    gate: QualityGate,
    tree: SynthesisTree,
    plan: Plan,
    rank: int = 0,
    world_size: int = 1,
    barrier: Callable[[], None] = lambda: None,
    progress: bool = True,
) -> SynthesisReport:
    """Make all images of a plan that the folder lacks.

    Raises:
        OtherMakerError: If the folder was begun with another model, bank or settings.
        DiskFullError: If the disk runs full.
        FolderInUseError: If another run is at work in the folder.
        ValueError: If a domain cannot be made, or the first labels are all unusable.
    """
    generator.check_domains(plan.domains)
    colours = class_colours(source.classes, plan.colours)
    shape = _usual_size(source)
    with contextlib.ExitStack() as stack:
        if rank == 0:
            maker = {"generator": generator.describe(), "prompts": plan.describe()}
            tree.open({**maker, "gate": gate.describe(), "classes": list(source.classes)})
            stack.enter_context(tree.claimed(alone=True))
        barrier()
        if rank > 0:
            stack.enter_context(tree.claimed())
        worker = _Worker(source, generator, gate, tree, plan, colours)
        made = _share(worker, shape, rank, world_size, barrier, progress)
        barrier()
        records = _finish(tree, gate) if rank == 0 else []
        barrier()
    return SynthesisReport(records, made)


def _share(
    worker: "_Worker",
    shape: tuple[int, int],
    rank: int,
    world_size: int,
    barrier: Callable[[], None],
    progress: bool,
) -> int:
    """Make this process's share of what the folder lacks; how many images that were."""
    source, tree, plan = worker.source, worker.tree, worker.plan
    done = tree.records()
    todo = [t for t in _tasks(source, plan) if (t.name, t.domain, t.index) not in done]
    barrier()  # all have read what is done before any adds to it
    mine = todo[rank::world_size]
    needed = int(len(todo) * math.prod(shape) * _BYTES_PER_PIXEL)
    tree.check_disk(needed, int(plan.min_free * 2**30))
    bar = tqdm(total=len(mine), unit="image", disable=not progress or rank > 0, smoothing=0.05)
    with bar, tree.writer(rank) as writer:
        for begin in range(0, len(mine), plan.batch_size):
            tree.check_disk(0, int(plan.min_free * 2**30))
            batch = mine[begin : begin + plan.batch_size]
            worker.work(batch, writer)
            bar.update(len(batch))
    return len(mine)


def _tasks(source: LabelledImages, plan: Plan) -> list[_Task]:
    chosen = range(len(source))
    if plan.limit is not None and plan.limit < len(source):
        chosen = np.linspace(0, len(source) - 1, plan.limit).round().astype(int).tolist()
    tasks = [
        _Task(number, source.name(number), domain, index)
        for index in range(plan.per_label)
        for number in chosen
        for domain in plan.domains
    ]
    names = {source.name(number) for number in range(len(source))}
    taken = next((t for t in tasks if t.index and t.stem in names), None)
    if taken is not None:
        raise ValueError(
            f"image {taken.index + 1} of {taken.name!r} would be called {taken.stem!r}, as another "
            "source image is; rename that, or make one image of each label"
        )
    return tasks


def _usual_size(source: LabelledImages) -> tuple[int, int]:
    """Of the first label that can be read. One bad label is set aside; if the first few all are,
    the data set is of another kind."""
    if not len(source):
        raise ValueError("the data set holds no labelled image")
    errors = []
    for index in range(min(_LABELS_LOOKED_AT, len(source))):
        try:
            return source.read(index)[1].shape
        except (ValueError, OSError) as error:
            errors.append(f"{source.name(index)}: {error}")
    raise ValueError("none of the first labels can be used:\n    " + "\n    ".join(errors))


class _Worker:
    """Makes batches of images."""

    def __init__(
        self,
        source: LabelledImages,
        generator: Generator,
        gate: QualityGate,
        tree: SynthesisTree,
        plan: Plan,
        colours: np.ndarray,
    ) -> None:
        self.source, self.generator, self.gate = source, generator, gate
        self.tree, self.plan, self.colours = tree, plan, colours
        self.kind = type(generator).__name__
        self.model = generator.describe().get("model")
        self.reads_prompt = getattr(generator, "reads_prompt", True) or gate.encoder is not None

    def work(self, tasks: Sequence[_Task], writer: RecordWriter) -> None:
        asked: list[tuple[_Task, Request]] = []
        for task in tasks:
            try:
                asked.append((task, self._request(task)))
            except (LabelValuesError, ValueError, OSError) as error:
                writer.write(self._record(task, f"source: {error}"), None)
        if not asked:
            return
        results = self.generator.generate([request for _, request in asked])
        for (task, request), result in zip(asked, results, strict=True):
            self._judge(task, request, result, writer)

    def _request(self, task: _Task) -> Request:
        image, label = self.source.read(task.source)
        seed = image_seed(self.plan.seed, task.name, task.domain, task.index)
        names = caption_classes(label, self.source.classes) if self.plan.caption else []
        return Request(
            name=task.name,
            domain=task.domain,
            image=image,
            label=label,
            classes=self.source.classes,
            control=control_image(label, self.colours),
            prompt=make_prompt(self.plan.bank, task.domain, names, seed),
            negative_prompt=self.plan.negative_prompt,
            seed=seed,
            image_path=self.source.image_path(task.source),
        )

    def _judge(
        self, task: _Task, request: Request, result: Generated, writer: RecordWriter
    ) -> None:
        image, reason, scores = result.image, result.problem, {}
        if image is None and reason is None:
            reason = "the generator gave no image and no reason"
        if image is not None:
            image = _fit(image, request.label.shape)
            reason = reason or blank_problem(image)
        if image is not None and reason is None:
            scores = self.gate.measure(
                image, request.label, len(request.classes), request.domain, request.prompt
            )
            reason = self.gate.judge(scores)
            # NaN is no JSON; an image without labelled pixels has no agreement.
            scores = {k: None if v != v else v for k, v in scores.items()}
        found = dict(scores=scores, parameters=result.parameters)
        if self.reads_prompt:  # one that nothing reads would be told of for nothing
            found |= dict(prompt=request.prompt, negative_prompt=request.negative_prompt)
        record = self._record(task, reason, **found)
        writer.write(record, image, request.label, self.source.label_file(task.source))

    def _record(self, task: _Task, reason: str | None, **found: Any) -> Record:
        return Record(
            name=task.stem,
            source=task.name,
            domain=task.domain,
            index=task.index,
            seed=image_seed(self.plan.seed, task.name, task.domain, task.index),
            status="kept" if reason is None else "rejected",
            reason=reason,
            generator=self.kind,
            model=self.model,
            **found,
        )


def _fit(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The image at its label's size."""
    if image.shape[:2] == tuple(shape):
        return image
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _finish(tree: SynthesisTree, gate: QualityGate) -> list[Record]:
    """Merge the processes' records and set near-duplicates aside, within each domain."""
    records = tree.merge()
    distance = gate.thresholds.max_duplicate_distance
    if distance is None:
        return records
    changed: dict[tuple, Record] = {}
    for domain in {record.domain for record in records}:
        kept = [r for r in records if r.domain == domain and r.status == "kept"]
        for record, twin in zip(
            kept, duplicates([r.scores["phash"] for r in kept], distance), strict=True
        ):
            if twin is not None:
                reason = f"nearly the same as {kept[twin].name}"
                changed[record.key] = tree.reject(record, reason)
    return tree.merge([changed.get(r.key, r) for r in records]) if changed else records
