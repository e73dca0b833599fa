"""DominoVPD against the plain reference of ``plain_vpd.py``, side by side in one run.

    python benchmarks/backbone.py                        # all parts, 512 x 512
    python benchmarks/backbone.py --small                # seconds: checks the script itself
    python benchmarks/backbone.py --parts train --batch 2 --size 512 1024 --variants bfloat16

Both sides have the same random weights; how far their features are apart is in the notes. The
reference computes in ``--plain``, ours in each of ``--variants``: ``bfloat16`` is autocast,
``+weights`` gives the UNet weights of that type, ``+compile``, ``+capture`` and ``+graphs`` compile
(the last two replay a whole pass on CUDA). On a CPU training steps run in a process each, by turns,
since only that tells their peak memory. ``--parts windows --taesd PATH --frames FOLDER`` measures
on real frames how far a window's latent is from that cut out of the whole image's. A ratio above 1
means that ours is better.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import torch
from diffusers import AutoencoderTiny
from measuring import Report, Row, Times, count_flops, describe, interleave, peak_gib, peak_tflops
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from vpd_pair import (
    DTYPES,
    Variant,
    build_ours,
    build_pair,
    build_plain,
    inputs,
    quickly,
    segmentor,
    variant_of,
)

from mmseg_domino.utils.windows import window_positions

PARTS = ("flops", "forward", "train", "slide", "windows")
#: What is hoped for against the reference, by what ours computes in; see docs.
GOALS = {"unet": 8.0, "whole": 6.0, "taesd": 10.0, "train": 5.0, "slide": 8.0, "memory": 2.0}
EQUAL_PRECISION_GOAL = 2.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every part reads."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's default if not given")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(512, 512))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--variants", nargs="+", type=Variant, help="of ours")
    parser.add_argument("--plain", nargs="+", type=Variant, default=[Variant("float32")])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="in our training step")
    parser.add_argument("--optimizer", choices=("none", "adamw"), default="none")
    parser.add_argument("--taesd", help="TAESD's weights; random ones if not given")
    parser.add_argument("--slide-size", type=int, nargs=2, metavar=("H", "W"), default=(1024, 2048))
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--stride", type=int, default=341)
    parser.add_argument("--windows-per-batch", type=int, default=1)
    parser.add_argument("--frames", type=Path, help="folder of JPEG images, for part windows")
    parser.add_argument("--small", action="store_true", help="miniature models and images")
    parser.add_argument("--worker", help=argparse.SUPPRESS)


def complete(args: Namespace) -> Namespace:
    """Fill in what follows from other arguments, in place."""
    if args.small:
        args.size, args.slide_size = (128, 128), (192, 256)
        args.crop, args.stride = 128, 85
    if args.variants is None:
        names = ["float32", "bfloat16"] if args.device.startswith("cuda") else ["float32"]
        args.variants = [Variant(name) for name in names]
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def options(**changes) -> Namespace:
    """The defaults, for callers from other scripts."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return complete(Namespace(**{**vars(parser.parse_args([])), **changes}))


def parse_args() -> Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1])
    add_arguments(parser)
    return complete(parser.parse_args())


def apart(ours: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """Largest difference of features, over the largest magnitude of the reference's level."""
    return max(
        float((a.float() - b.float()).abs().max() / b.float().abs().max())
        for a, b in zip(ours, plain, strict=True)
    )


def rate(flops: float, seconds: float, device: torch.device, dtype: str) -> str:
    """Achieved TFLOP/s and, where the device is known, the share of its peak."""
    achieved = flops / seconds / 1e12
    peak = peak_tflops(device, DTYPES[dtype])
    return f"{achieved:.3g} TFLOP/s" + (f", {achieved / peak:.0%} of {peak:g}" if peak else "")


def meta_flops(args: Namespace) -> dict[str, float]:
    """Operations of one forward pass of the batch, by part."""
    with torch.device("meta"):
        ours, tiny = build_ours(args).eval(), AutoencoderTiny().encoder
        image = torch.empty(args.batch, 3, *args.size)
        latent = torch.empty(args.batch, 4, *(length // 8 for length in args.size))
        domain = torch.empty(args.batch, ours.unet.config.cross_attention_dim)
    with torch.no_grad():
        return {
            "vae": count_flops(lambda: ours.encode(image)),
            "taesd": count_flops(lambda: tiny(image)),
            "unet": count_flops(lambda: ours.forward_latent(latent, domain, args.size)),
        }


def cloned(result: object) -> tuple[Tensor, ...]:
    """Copies of tensors that the next replay of a CUDA graph would write over."""
    return tuple(t.clone() for t in ((result,) if isinstance(result, Tensor) else result))


def try_variants(
    variants: Sequence[Variant], try_one: Callable[[Variant], None], what: str, report: Report
) -> list[Variant]:
    """Those that run; the others become rows that say why not."""
    working = []
    for variant in variants:
        try:
            try_one(variant)
            working.append(variant)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            report.add(f"{what}, {variant.name}", note=f"{type(error).__name__}: {lines[0][:200]}")
            release()
    return working


def release() -> None:
    """Give freed memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@torch.no_grad()
def measure_forward(args: Namespace, report: Report) -> None:
    """UNet with maps, encoder, both, and both with TAESD."""
    device = torch.device(args.device)
    ours, plain = build_pair(args)
    images, domain = inputs(args)
    latent = torch.randn(args.batch, 4, *(length // 8 for length in args.size)).to(device)
    flops, size = meta_flops(args), tuple(args.size)
    calls: dict[str, Callable[[], object]] = {}
    for side in args.plain:
        calls[f"plain unet {side.name}"] = side.run(
            lambda: plain.forward_latent(latent, domain), args.device
        )
        calls[f"plain vae {side.name}"] = side.run(lambda: plain.encode(images), args.device)
    expected = {part: cloned(calls[f"plain {part} float32"]()) for part in ("unet", "vae")}
    differ: dict[str, str] = {}

    def prepare(variant: Variant) -> None:
        model = variant_of(ours, args, variant)
        tiny = tiny_encoder(args, variant.compile).to(device)
        parts = {
            "unet": lambda: model.forward_latent(latent, domain, size),
            "vae": lambda: model.encode(images),
            "taesd": lambda: tiny(images.contiguous(memory_format=torch.channels_last)),
        }
        mine = {f"{p} {variant.name}": variant.run(c, args.device) for p, c in parts.items()}
        for part in expected:
            found = cloned(mine[f"{part} {variant.name}"]())
            differ[f"{part} {variant.name}"] = f"differs by {apart(found, expected[part]):.1e}"
        calls.update(mine)

    working = try_variants(args.variants, prepare, "forward", report)
    warm_up = 3 if device.type == "cuda" else 0
    times = interleave(calls, device, args.repeats, warm_up=warm_up, quiet=device.type == "cuda")
    for variant in working:
        for side in args.plain:
            if comparable(side, variant):
                add_forward_rows(variant, side, times, flops, differ, device, report)


def comparable(side: Variant, variant: Variant) -> bool:
    """Whether a row is worth it: against full precision, or in the same one."""
    return side.dtype in (variant.dtype, "float32") or (
        side.dtype == "tf32" and variant.dtype != "float32"
    )


def add_forward_rows(variant, side, times, flops, differ, device, report) -> None:
    """The rows of one variant beside the reference in one precision."""
    half = variant.dtype != side.dtype and side.dtype == "float32"
    mine = {p: times[f"{p} {variant.name}"] for p in ("unet", "vae", "taesd")}
    theirs = {p: times[f"plain {p} {side.name}"] for p in ("unet", "vae")}
    beside = "" if side.dtype == "float32" else f" (plain {side.dtype})"
    both = flops["unet"] + flops["vae"]
    rows = {
        "UNet with maps": (("unet",), ("unet",), flops["unet"], GOALS["unet"]),
        "VAE encoder": (("vae",), ("vae",), flops["vae"], None),
        "whole forward": (("unet", "vae"), ("unet", "vae"), both, GOALS["whole"]),
        "whole forward with TAESD": (("unet", "taesd"), ("unet", "vae"), None, GOALS["taesd"]),
    }
    for name, (own, other, work, goal) in rows.items():
        seconds = sum(mine[p].wall for p in own)
        reference = sum(theirs[p].wall for p in other)
        cpu = sum(theirs[p].cpu for p in other) / sum(mine[p].cpu for p in own)
        notes = [rate(work, seconds, device, variant.dtype)] if work else []
        notes += [differ[f"{p} {variant.name}"] for p in own if len(own) == 1 and p in theirs]
        if device.type == "cpu":
            notes.append(f"CPU time {cpu:.2f}x")
        if not half:
            equal = side.dtype == variant.dtype and name == "UNet with maps"
            goal = EQUAL_PRECISION_GOAL if equal else None
        report.add(
            f"{name}, {variant.name}{beside}", plain=1e3 * reference, ours=1e3 * seconds,
            goal=goal, note=", ".join(notes),
        )  # fmt: skip


def train_once(args: Namespace, side: str, variant: Variant) -> tuple[Times, float]:
    """Time and peak GiB of one side's training step, forward and backward."""
    device = torch.device(args.device)
    if side == "ours":
        model = quickly(lambda a: build_ours(a, compile=variant.compile), args).train()
    else:
        model = quickly(build_plain, args).train()
    images, domain = inputs(args)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5) if args.optimizer == "adamw" else None

    def step() -> None:
        features = forward()
        sum(feature.float().square().mean() for feature in features).backward()
        if optimizer is not None:
            optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    forward = variant.run(lambda: model(images, domain), args.device)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    times = interleave({"step": step}, device, args.repeats, warm_up=2 if cuda else 0, quiet=cuda)
    return times["step"], peak_gib(device)


def train_in_process(args: Namespace, side: str, variant: Variant) -> tuple[Times, float]:
    """:func:`train_once` in a process of its own."""
    worker = ["--worker", f"{side}:{variant.name}", "--repeats", "1"]
    command = [sys.executable, "-W", "ignore", *sys.argv, *worker]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    wall, cpu, peak = json.loads(line.removeprefix("RESULT"))
    return Times(wall, cpu), peak


def train_by_turns(args: Namespace, sides: Sequence[tuple[str, Variant]]) -> dict:
    """Medians over processes that take turns, so that what disturbs one disturbs all."""
    results: dict = {side: [] for side in sides}
    for _ in range(args.repeats):
        for side in sides:
            results[side].append(train_in_process(args, *side))
    return {
        side: (
            Times(
                statistics.median(t.wall for t, _ in rows),
                statistics.median(t.cpu for t, _ in rows),
            ),
            max(peak for _, peak in rows),
        )
        for side, rows in results.items()
    }


def measure_training(args: Namespace, report: Report) -> dict:
    """Training steps of one batch, time and peak memory; both by side and variant."""
    device = torch.device(args.device)
    sides = [("plain", v) for v in args.plain] + [("ours", v) for v in args.variants]
    title = f"training step, {args.batch} x {args.size[0]}x{args.size[1]}"
    title += ", checkpointing" if args.checkpointing else ""
    results: dict = {}
    if device.type == "cpu" and not args.small:
        results = train_by_turns(args, sides)
    else:
        for side in sides:

            def measure(variant: Variant, side=side) -> None:
                results[side] = train_once(args, side[0], variant)

            try_variants([side[1]], measure, f"{title}, {side[0]}", report)
            release()
    flops = meta_flops(args)
    # The backward pass computes two products for each of the forward's.
    total = flops["vae"] + 3 * flops["unet"]
    for variant in args.variants:
        if ("ours", variant) not in results:
            continue
        times, peak = results["ours", variant]
        for reference in [p for p in args.plain if comparable(p, variant)] or [None]:
            theirs, their_peak = results.get(("plain", reference), (None, None))
            half = reference is not None and reference.dtype == "float32" != variant.dtype
            beside = f" (plain {reference.dtype})" if reference and not half else ""
            report.add(
                f"{title}, {variant.name}{beside}", plain=theirs and 1e3 * theirs.wall,
                ours=1e3 * times.wall, goal=GOALS["train"] if half else None,
                note=rate(total, times.wall, device, variant.dtype),
            )  # fmt: skip
            report.add(
                f"peak memory of it{beside}", plain=their_peak, ours=peak, unit="GiB",
                goal=GOALS["memory"] if half else None,
            )  # fmt: skip
    return results


@torch.no_grad()
def measure_slide(args: Namespace, report: Report) -> None:
    """Slide inference of one image: exact, and with the latent computed once."""
    device = torch.device(args.device)
    ours, plain = build_pair(args)
    args = Namespace(**{**vars(args), "size": args.slide_size, "batch": 1})
    images, domain = inputs(args)
    plain.domain = domain
    stock = segmentor(args, plain)
    metas = [dict(img_shape=tuple(args.size))]

    def slide(model: nn.Module) -> Tensor:
        with model._conditioned_on(domain):
            return model.slide_inference(images, metas)

    calls = {
        f"plain {side.name}": side.run(lambda: stock.slide_inference(images, metas), args.device)
        for side in args.plain
    }
    expected = calls["plain float32"]()
    notes: dict[str, str] = {}
    names = {"window": "slide, exact", "image": "slide, latent once"}

    def kinds(variant: Variant) -> list[str]:
        return ["image"] if variant.compile else list(names)

    def prepare(variant: Variant) -> None:
        backbone = variant_of(ours, args, variant)
        for kind in kinds(variant):
            model = segmentor(args, backbone, latent=kind, windows_per_batch=args.windows_per_batch)
            call = variant.run(lambda model=model: slide(model), args.device)
            result = call().float()
            change = apart([result], [expected])
            other = float((result.argmax(1) != expected.argmax(1)).float().mean())
            notes[f"{kind} {variant.name}"] = (
                f"logits differ by {change:.1e}, class of {other:.2%} of the pixels"
            )
            calls[f"{kind} {variant.name}"] = call

    working = try_variants(args.variants, prepare, "slide", report)
    times = interleave(calls, device, args.repeats, warm_up=0, quiet=device.type == "cuda")
    size = f"{args.size[0]}x{args.size[1]}"
    for variant in working:
        for kind in kinds(variant):
            mine = times[f"{kind} {variant.name}"]
            for side in args.plain:
                beside = "" if side.dtype == "float32" else f" (plain {side.dtype})"
                report.add(
                    f"{names[kind]}, {size}, {variant.name}{beside}",
                    plain=1e3 * times[f"plain {side.name}"].wall, ours=1e3 * mine.wall,
                    goal=None if beside else GOALS["slide"],
                    note=notes[f"{kind} {variant.name}"],
                )  # fmt: skip


def load_frame(path: Path) -> Tensor:
    """An image as ``(1, 3, H, W)`` in [-1, 1], cut to multiples of 8."""
    image = torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy())
    height, width = (length // 8 * 8 for length in image.shape[:2])
    return image[:height, :width].permute(2, 0, 1)[None].float() / 127.5 - 1


def distance_to_cut(top_left: tuple[int, int], crop: tuple[int, int], size: tuple[int, int]):
    """How many latents each position of a window is from the nearest side that cuts the image."""
    far = torch.full(crop, max(size))
    for axis, (start, length, whole) in enumerate(zip(top_left, crop, size, strict=True)):
        shape = (-1, 1) if axis == 0 else (1, -1)
        steps = torch.arange(length).view(shape)
        if start > 0:
            far = torch.minimum(far, steps.expand(crop))
        if start + length < whole:
            far = torch.minimum(far, (length - 1 - steps).expand(crop))
    return far


@torch.no_grad()
def measure_windows(args: Namespace) -> None:
    """Latents of windows against those cut out of the whole image's, by distance from the cut."""
    if not args.taesd or not args.frames:
        raise SystemExit("--parts windows needs --taesd and --frames: random weights tell nothing")
    tiny = tiny_encoder(args)
    paths = sorted(args.frames.glob("*.jpg"))[:20]
    squares, counts, total = torch.zeros(10), torch.zeros(10), []
    for path in paths:
        image = load_frame(path)
        whole = tiny(image)
        total.append(whole.flatten())
        size = tuple(whole.shape[2:])
        crop = tuple(min(args.crop // 8, length) for length in size)
        for y, x in window_positions(size, crop, (args.stride // 8,) * 2):
            rows, columns = slice(y, y + crop[0]), slice(x, x + crop[1])
            own = tiny(image[:, :, y * 8 : (y + crop[0]) * 8, x * 8 : (x + crop[1]) * 8])
            error = (own - whole[:, :, rows, columns]).square().mean(dim=(0, 1)).flatten()
            ring = distance_to_cut((y, x), crop, size).clamp(max=9).flatten()
            squares += torch.zeros(10).index_add_(0, ring, error)
            counts += torch.bincount(ring, minlength=10)
    deviation = torch.cat(total).std()
    print(f"{len(paths)} frames, latents' standard deviation {deviation:.3f}")
    for ring, error in enumerate((squares / counts).sqrt() / deviation):
        name = f"{ring} latents from a cut" if ring < 9 else "9 and more"
        print(f"  {name:<24} {error:8.2%} of it (RMS), {counts[ring] / counts.sum():6.1%} of all")
    print(f"  all: {(squares.sum() / counts.sum()).sqrt() / deviation:.2%}")


def tiny_encoder(args: Namespace, compile: Mapping | bool = False) -> nn.Module:
    """TAESD's encoder in ours; as given, or with random weights."""
    args = Namespace(**{**vars(args), "small": True})
    if args.taesd:
        return build_ours(args, vae=args.taesd, compile=compile).vae
    with tempfile.TemporaryDirectory() as folder:
        AutoencoderTiny().save_pretrained(folder)
        return build_ours(args, vae=folder, compile=compile).vae


def main() -> None:
    args = parse_args()
    init_default_scope("mmseg")
    device = torch.device(args.device)
    if args.worker:
        side, variant = args.worker.split(":")
        times, peak = train_once(args, side, Variant(variant))
        print("RESULT", json.dumps([times.wall, times.cpu, peak]))
        return
    print(f"{describe(device)}; PyTorch {torch.__version__}; {args.batch} x {tuple(args.size)}\n")
    print(Row.HEAD)
    report = Report()
    if "flops" in args.parts:
        for name, flops in meta_flops(args).items():
            report.add(f"operations, forward, {name}", ours=flops / 1e12, unit="TFLOP")
    measures = {"forward": measure_forward, "train": measure_training, "slide": measure_slide}
    for name, measure in measures.items():
        if name in args.parts:
            measure(args, report)
    if "windows" in args.parts:
        measure_windows(args)
    print(f"\nat the end: {describe(device)}")


if __name__ == "__main__":
    main()
