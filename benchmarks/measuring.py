"""Time, memory and throughput, on a CPU or a CUDA device, for the scripts beside this file."""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

#: Dense peaks in TFLOP/s, from the vendors' data sheets: bfloat16 (float16 before Ampere) with
#: float32 sums on tensor cores, and float32 without tensor cores.
PEAKS = {
    "H200": (989.4, 66.9),
    "H100 PCIe": (756.0, 51.0),
    "H100 NVL": (835.0, 60.0),
    "H100": (989.4, 66.9),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "A10": (125.0, 31.2),
    "V100": (125.0, 15.7),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
}


@dataclass(frozen=True)
class Times:
    """Seconds of one call: medians over repetitions.

    Attributes:
        wall: On the clock; by the device's own events on CUDA.
        cpu: Of all threads of the process. On a machine that others use as well, this with one
            thread is the figure to trust.
    """

    wall: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """A line of a report: the plain reference beside ours.

    Attributes:
        name: What was measured, and how ours computed.
        plain: The reference's figure; None if there is none.
        ours: Ours; None if it failed, which the note then says.
        unit: Of both.
        higher: Whether more is better. A ratio is above 1 where ours is better.
        goal: The ratio (without a reference: the figure) to reach; None for none.
        note: What else is worth knowing.
    """

    name: str
    plain: float | None = None
    ours: float | None = None
    unit: str = "ms"
    higher: bool = False
    goal: float | None = None
    note: str = ""

    HEAD = "| measured | plain | ours | ratio | goal | note |\n|---|---:|---:|---:|---:|---|"

    @property
    def ratio(self) -> float | None:
        """How many times better ours is."""
        if not self.plain or not self.ours:
            return None
        return self.ours / self.plain if self.higher else self.plain / self.ours

    def markdown(self) -> str:
        """The line of a Markdown table under :attr:`HEAD`."""

        def figure(value: float | None, unit: str) -> str:
            return "" if value is None else f"{value:.4g} {unit}".strip()

        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        goal = figure(self.goal, self.unit) if self.ratio is None else figure(self.goal, "") + "x"
        goal = goal if self.goal else ""
        cells = (figure(self.plain, self.unit), figure(self.ours, self.unit), ratio, goal)
        note = " ".join(self.note.split()).replace("|", "/")
        return f"| {self.name} | {' | '.join(cells)} | {note} |"


class Report:
    """Rows as they are measured: printed at once, and kept.

    Args:
        path: A file that gets each row as a line of JSON; None for none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    def add(self, name: str, **fields) -> None:
        """Report a :class:`Row`."""
        row = Row(name, **fields)
        print(row.markdown(), flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")

    @staticmethod
    def read(path: Path) -> list[Row]:
        """The rows of a file, in their order; none if it does not exist."""
        if not path.exists():
            return []
        return [Row(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def _once(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    cpu = time.process_time()
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000, time.process_time() - cpu
    wall = time.perf_counter()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleave(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    repeats: int,
    warm_up: int = 1,
    quiet: bool = False,
) -> dict[str, Times]:
    """Time calls in turn, round by round, so that what disturbs one disturbs all.

    Each single time goes to the standard error as it is measured, unless ``quiet``.

    Args:
        calls: By name.
        device: What they run on.
        repeats: Rounds that count.
        warm_up: Rounds before them.
        quiet: Whether to say nothing while measuring.
    """
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            times = _once(call, device)
            if not quiet:
                line = f"  round {turn}, {name}: {times[0]:.3f} s, {times[1]:.3f} s of CPU time"
                print(line, file=sys.stderr, flush=True)
            if turn >= warm_up:
                measured[name].append(times)
    return {
        name: Times(*(statistics.median(column) for column in zip(*rows, strict=True)))
        for name, rows in measured.items()
    }


def peak_gib(device: torch.device) -> float:
    """Largest memory so far: of the device's allocator, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def count_flops(call: Callable[[], object]) -> float:
    """Floating-point operations of a call, by PyTorch's counter; use the meta device."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def peak_tflops(device: torch.device, dtype: torch.dtype) -> float | None:
    """The device's peak for matrix products, or None if it is not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    for key, (half, single) in PEAKS.items():
        if all(word in name for word in key.split()):
            return single if dtype == torch.float32 else half
    return None


def describe(device: torch.device) -> str:
    """The device in words, and how busy the machine is."""
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GiB"
    load = os.getloadavg()[0]
    return f"{torch.get_num_threads()} threads of {os.cpu_count()} CPU cores, load {load:.1f}"
