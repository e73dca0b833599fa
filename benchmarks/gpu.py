"""Everything that is to be known of a machine with a GPU, in one run of under 8 minutes on an H100.

    python benchmarks/gpu.py                    # prints a Markdown table; --out FILE keeps it
    python benchmarks/gpu.py --parts forward train
    python benchmarks/gpu.py --small            # on a CPU, in a minute: checks the script itself

Each part runs in a process of its own under a time limit and prints its rows as it measures them.
What fails or runs out of memory is a row that says so, and the next part follows. ``plain`` is the
reference of ``plain_vpd.py`` with the same weights, in the same process by turns, and in true
float32 unless the row says otherwise; ``tf32`` is PyTorch's default, whose convolutions round
their inputs. A ratio above 1 means that ours is better.
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

# Before PyTorch is imported: asking whether there is a card must not take hold of it, for then
# the processes that are forked below could not use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import backbone
import diffusers
import extraction
import mmengine
import mmseg
import torch
import transformers
from backbone import apart, cloned, options, try_variants
from measuring import Report, Row, describe, interleave
from mmengine.registry import init_default_scope
from vpd_pair import Variant, build_pair, inputs, variant_of

Settings = argparse.Namespace

#: An image tower that even a CPU runs at once.
_TINY_CLIP = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=32, layers=2, width=32, patch_size=8, head_width=8),
    text_cfg=dict(context_length=32, vocab_size=49408, width=24, heads=4, layers=2),
)


def variants(*names: str) -> list[Variant]:
    return [Variant(name) for name in names]


def more(settings: Settings, *names: str) -> tuple[str, ...]:
    """What a small run leaves out."""
    return () if settings.small else names


# ---- Parts --------------------------------------------------------------------------------------


def environment(settings: Settings, report: Report) -> None:
    """What it runs on."""
    device = torch.device(settings.device)
    report.add("device", note=describe(device))
    if device.type == "cuda":
        query = "driver_version,power.limit,clocks.max.sm"
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        except OSError as error:
            found = f"nvidia-smi: {error}"
        report.add("driver, power limit, clock", note=found.splitlines()[0] if found else "")
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        report.add(
            "CUDA, cuDNN, capability",
            note=f"{torch.version.cuda}, {torch.backends.cudnn.version()}, {capability}",
        )
    modules = (torch, diffusers, transformers, mmseg, mmengine)
    report.add("Python", note=f"{platform.python_version()}, {os.cpu_count()} CPU cores")
    report.add("packages", note=", ".join(f"{m.__name__} {m.__version__}" for m in modules))


@torch.no_grad()
def exactness(settings: Settings, report: Report) -> None:
    """The same weights on the CPU in float32 and on the device in every precision."""
    host = options(device="cpu", small=settings.small)
    ours, _ = build_pair(host)
    images, domain = inputs(host)
    latent = ours.encode(images)
    features = ours.forward_latent(latent, domain, tuple(host.size))
    args = options(device=settings.device, small=settings.small)
    there = [t.to(settings.device) for t in (images, domain, latent)]
    ours.to(settings.device)

    def compare(variant: Variant) -> None:
        model = variant_of(ours, args, variant)
        found = variant.run(lambda: model.encode(there[0]), settings.device)()
        report.add(
            f"latents against the CPU, {variant.name}",
            ours=apart([found.cpu()], [latent]), unit="of the largest",
        )  # fmt: skip
        run = lambda: model.forward_latent(there[2], there[1], tuple(host.size))  # noqa: E731
        found = [f.cpu() for f in cloned(variant.run(run, settings.device)())]
        report.add(
            f"features against the CPU, {variant.name}",
            ours=apart(found, features), unit="of the largest",
        )  # fmt: skip

    names = ("float32", "bfloat16", "bfloat16+weights", *more(settings, "tf32", "float16"))
    try_variants(variants(*names), compare, "exactness", report)


def forward(settings: Settings, report: Report) -> None:
    """Both sides without code generation."""
    args = options(
        device=settings.device,
        small=settings.small,
        repeats=settings.repeats,
        plain=variants("float32", *more(settings, "tf32", "bfloat16")),
        variants=variants(
            "float32", "bfloat16", *more(settings, "bfloat16+weights", "bfloat16+weights+capture")
        ),
    )
    backbone.measure_forward(args, report)


def forward_compiled(settings: Settings, report: Report) -> None:
    """Ours compiled: generated kernels, replayed as CUDA graphs."""
    args = options(
        device=settings.device,
        repeats=settings.repeats,
        plain=variants("float32", "tf32", "bfloat16"),
        variants=variants("bfloat16+weights+graphs"),
    )
    backbone.measure_forward(args, report)


def train(settings: Settings, report: Report) -> None:
    """Training steps of growing batches; images a second of the best."""
    best: dict[str, tuple[float, int]] = {}
    for batch in settings.batches:
        args = options(
            device=settings.device,
            small=settings.small,
            batch=batch,
            repeats=min(settings.repeats, 4),
            plain=variants("float32", *more(settings, "tf32")),
            variants=variants("bfloat16"),
        )
        for (side, variant), (times, _) in backbone.measure_training(args, report).items():
            if side == "plain" and variant.dtype != "float32":
                continue
            best[side] = max(best.get(side, (0.0, 0)), (batch / times.wall, batch))
    if set(best) == {"plain", "ours"}:
        report.add(
            "training, best batch", plain=best["plain"][0], ours=best["ours"][0], unit="images/s",
            higher=True, goal=backbone.GOALS["train"],
            note=f"plain with batch {best['plain'][1]}, ours with {best['ours'][1]}",
        )  # fmt: skip


def train_compiled(settings: Settings, report: Report) -> None:
    """The same, compiled, in one size: generating the backward pass takes a minute.

    Where the reference has no room for so many images, it has as many as it has room for.
    """
    batch = max(settings.batches)
    args = options(
        device=settings.device, batch=batch, repeats=5, variants=variants("bfloat16+compile"),
    )  # fmt: skip
    results = backbone.measure_training(args, report)
    rates = {side: batch / times.wall for (side, _), (times, _) in results.items()}
    smaller = batch
    while "plain" not in rates and smaller > 1:
        smaller //= 2
        args = options(device=settings.device, batch=smaller, repeats=2, variants=[])
        results = backbone.measure_training(args, report)
        rates |= {side: smaller / times.wall for (side, _), (times, _) in results.items()}
    report.add(
        "training, compiled", plain=rates.get("plain"), ours=rates.get("ours"), unit="images/s",
        higher=True, goal=backbone.GOALS["train"],
        note=f"plain with batch {smaller}, ours with {batch}",
    )  # fmt: skip


def memory(settings: Settings, report: Report) -> None:
    """What fits a card of 24 GiB: batch 2 of 512 x 1024, AdamW, checkpointing."""
    args = options(
        device=settings.device,
        batch=2,
        size=(512, 1024),
        checkpointing=True,
        optimizer="adamw",
        repeats=2,
        plain=[],
        variants=variants("bfloat16"),
    )
    backbone.measure_training(args, report)


def slide(settings: Settings, report: Report) -> None:
    """An image of 1024 x 2048, window by window and with all windows at once."""
    args = options(
        device=settings.device,
        small=settings.small,
        repeats=min(settings.repeats, 3),
        windows_per_batch=18,  # all of them
        plain=variants("float32", *more(settings, "tf32")),
        variants=variants("bfloat16"),
    )
    backbone.measure_slide(args, report)


def slide_compiled(settings: Settings, report: Report) -> None:
    """The same, compiled."""
    args = options(
        device=settings.device,
        repeats=3,
        windows_per_batch=18,
        variants=variants("bfloat16+weights+compile"),
    )
    backbone.measure_slide(args, report)


def embeddings(settings: Settings, report: Report) -> None:
    """Extraction of domain embeddings from files, against the bare image tower."""
    given = ["--device", settings.device, "--rounds", "2"]
    if settings.small:
        tiny = settings.folder / "tiny.json"
        tiny.write_text(json.dumps(_TINY_CLIP))
        given += ["--model", str(tiny), "--images", "4", "--height", "64", "--width", "96"]
        given += ["--batch-size", "2", "--workers", "0"]
    else:
        given += ["--model", "ViT-L-14", "--precision", "bf16", "--images", "256"]
        given += ["--batch-size", "64", "--workers", str(os.cpu_count()), "--suffix", ".jpg"]
    args = extraction.parse_args(given)
    rates = {part: max(rate for rate, _ in rows) for part, rows in extraction.measure(args).items()}
    size = f"{args.height}x{args.width}"
    report.add(
        f"extraction, {Path(args.model).stem} {args.precision}, {size} {args.suffix[1:]}",
        plain=rates["tower"], ours=rates["extraction"], unit="images/s", higher=True,
        note=f"plain is the bare tower; decoding alone {rates['decoding']:.4g} images/s with "
        f"{args.workers} workers",
    )  # fmt: skip


def operators(settings: Settings, report: Report) -> None:
    """Deformable attention of Mask2Former's pixel decoder against mmcv's own fallback."""
    from mmcv.ops import multi_scale_deform_attn as module

    from mmseg_domino.operators import which_operators

    device = torch.device(settings.device)
    side = 4 if settings.small else 32
    shapes = [(side * 2**i, 2 * side * 2**i) for i in range(3)]
    total = sum(h * w for h, w in shapes)
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(1, total, 8, 32, generator=generator).to(device).requires_grad_()
    points = torch.rand(1, total, 8, 3, 4, 2, generator=generator).to(device)
    weights = torch.rand(1, total, 8, 3, 4, generator=generator).to(device)
    table = torch.tensor(shapes, device=device)
    starts = torch.cat([table.new_zeros(1), table.prod(1).cumsum(0)[:-1]])
    own, reference = (
        module.MultiScaleDeformableAttnFunction.apply,
        module.multi_scale_deformable_attn_pytorch,
    )

    def step(call: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            call().sum().backward()
            value.grad = None

        return run

    ours = lambda: own(value, table, starts, points, weights, 64)  # noqa: E731
    plain = lambda: reference(value, table, points, weights)  # noqa: E731
    calls = {"ours": step(ours), "plain": step(plain)}
    times = interleave(calls, device, settings.repeats, quiet=True)
    report.add(
        f"deformable attention, {total} queries, float32, both passes",
        plain=1e3 * times["plain"].wall, ours=1e3 * times["ours"].wall,
        note=f"plain is mmcv's own in Python; ours {which_operators()}; differs by "
        f"{apart([ours()], [plain()]):.1e}",
    )  # fmt: skip


# ---- Running them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part and the seconds that it may take; ``small`` says whether a CPU can do it."""

    run: Callable[[Settings, Report], None]
    seconds: int
    small: bool = True


PARTS = {
    "environment": Part(environment, 30),
    "exactness": Part(exactness, 70),
    "forward": Part(forward, 70),
    "train": Part(train, 60),
    "slide": Part(slide, 50),
    "memory": Part(memory, 40, small=False),
    "operators": Part(operators, 20),
    "forward-compiled": Part(forward_compiled, 110, small=False),
    "train-compiled": Part(train_compiled, 150, small=False),
    "embeddings": Part(embeddings, 60),
    "slide-compiled": Part(slide_compiled, 100, small=False),
}


def parse_args() -> Settings:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS)
    parser.add_argument("--device", help="cuda, or with --small the CPU")
    parser.add_argument("--minutes", type=float, default=8, help="of all parts together")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=(1, 2, 8),
        help="of training; compiled, the largest alone",
    )
    parser.add_argument("--small", action="store_true", help="miniature models on a CPU")
    parser.add_argument("--out", type=Path, help="file for the table")
    settings = parser.parse_args()
    settings.device = settings.device or ("cpu" if settings.small else "cuda")
    if settings.small:
        settings.repeats, settings.batches = 1, (1,)
    if settings.parts is None:
        settings.parts = [n for n, part in PARTS.items() if part.small or not settings.small]
    return settings


def child(name: str, settings: Settings, rows: Path) -> None:
    """In the part's own process."""
    init_default_scope("mmseg")
    report = Report(rows)
    try:
        with redirect_stdout(sys.stderr):
            PARTS[name].run(settings, report)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        report.add(name, note=f"stopped by {type(error).__name__}: {lines[0][:200]}")


def probe(device: str) -> None:
    torch.zeros(1, device=device)


def start_method(device: str) -> str:
    """How parts are started: forked, which spares them the imports, where the device allows it."""
    process = multiprocessing.get_context("fork").Process(target=probe, args=(device,))
    process.start()
    process.join(60)
    if process.exitcode == 0:
        return "fork"
    process.kill()
    print("forked processes cannot use the device: parts are spawned", file=sys.stderr)
    return "spawn"


def run_part(name: str, settings: Settings, seconds: float) -> list[Row]:
    """The rows of a part, with one more if it did not come to its end."""
    rows = settings.folder / f"{name}.jsonl"
    context = multiprocessing.get_context(settings.start_method)
    process = context.Process(target=child, args=(name, settings, rows))
    process.start()
    process.join(seconds)
    found = Report.read(rows)
    if process.is_alive():
        process.kill()
        process.join()
        found = [*Report.read(rows), Row(name, note=f"stopped after {seconds:.0f} s, its limit")]
    elif process.exitcode:
        found.append(Row(name, note=f"its process ended with code {process.exitcode}"))
    return found


def main() -> None:
    settings = parse_args()
    if settings.device.startswith("cuda") and not torch.cuda.device_count():
        raise SystemExit("no CUDA device: run it where there is one, or with --small on a CPU")
    start = time.monotonic()
    print(Row.HEAD, flush=True)
    lines = []
    settings.start_method = start_method(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        settings.folder = Path(folder)
        for name in settings.parts:
            began = time.monotonic()
            left = 60 * settings.minutes - (began - start)
            # A CPU's speed says nothing of whether a part hangs.
            seconds = min(PARTS[name].seconds * (5 if settings.small else 1), left)
            if seconds < 5:
                rows = [Row(name, note=f"left out: the {settings.minutes:g} minutes are over")]
            else:
                rows = run_part(name, settings, seconds)
            took = Row(f"*{name}*", ours=time.monotonic() - began, unit="s", note="the whole part")
            for row in [*rows, took]:
                print(row.markdown(), flush=True)
                lines.append(row.markdown())
    if settings.out is not None:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        settings.out.write_text("\n".join([Row.HEAD, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
