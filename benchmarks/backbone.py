"""DominoVPD against the plain reference of ``plain_vpd.py``, side by side in one run.

    python benchmarks/backbone.py                        # all parts, 512 x 512
    python benchmarks/backbone.py --small                # seconds: checks the script itself
    python benchmarks/backbone.py --parts train --batch 2 --size 512 1024 --dtypes bfloat16

Both sides have the same random weights; how far their features are apart is printed. The
reference always computes in float32, ours in each of ``--dtypes`` (half precision by autocast).
Training steps run in a process each, forward and backward, by turns; ``--optimizer`` adds an
update. ``--parts windows --taesd PATH --frames FOLDER`` measures on real frames how far a window's
latent is from that cut out of the whole image's. Ratios are the reference's time over ours; for
peak memory, ours over the reference's.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import torch
from diffusers import AutoencoderTiny
from measuring import Times, count_flops, describe, interleave, peak_gib, peak_tflops
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from plain_vpd import PlainVPD
from torch import Tensor, nn

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.models.backbones import DominoVPD
from mmseg_domino.models.diffusion.architecture import resolve_architecture
from mmseg_domino.models.segmentors.slide import window_positions

PARTS = ("flops", "forward", "train", "slide", "windows")
CLASSES = 19
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SMALL = dict(
    unet=dict(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        cross_attention_dim=48,
        attention_head_dim=4,
        norm_num_groups=8,
    ),
    vae=dict(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 32),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
    ),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="of the CPU; PyTorch's default if not given")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(512, 512))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, help="of ours")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true", help="in our training step")
    parser.add_argument("--optimizer", choices=("none", "adamw"), default="none")
    parser.add_argument("--taesd", help="TAESD's weights; random ones if not given")
    parser.add_argument("--slide-size", type=int, nargs=2, metavar=("H", "W"), default=(1024, 2048))
    parser.add_argument("--slide-repeats", type=int, default=1)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--stride", type=int, default=341)
    parser.add_argument("--windows-per-batch", type=int, default=1)
    parser.add_argument("--frames", type=Path, help="folder of JPEG images, for part windows")
    parser.add_argument("--small", action="store_true", help="miniature models and images")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.size, args.slide_size = (128, 128), (192, 256)
        args.crop, args.stride = 128, 85
    if args.dtypes is None:
        args.dtypes = ["float32", "bfloat16"] if args.device.startswith("cuda") else ["float32"]
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def architecture(args: argparse.Namespace) -> dict:
    return _SMALL if args.small else resolve_architecture("sd15")


def build_ours(args: argparse.Namespace, vae: str | None = None) -> DominoVPD:
    """Our backbone with random weights, channels last."""
    torch.manual_seed(0)
    return DominoVPD(
        "random",
        num_classes=CLASSES,
        architecture=architecture(args),
        vae=vae,
        channels_last=True,
        gradient_checkpointing=args.checkpointing,
    )


def build_plain(args: argparse.Namespace) -> PlainVPD:
    """The reference with random weights."""
    parts = architecture(args)
    tokens = torch.randn(CLASSES, parts["unet"]["cross_attention_dim"])
    return PlainVPD(parts["unet"], parts["vae"], tokens)


def quickly(build: Callable[[argparse.Namespace], nn.Module], args: argparse.Namespace):
    """A model whose random weights are drawn once and repeated: 860 M draws take many seconds."""
    with torch.device("meta"):
        model = build(args)
    model.to_empty(device=args.device)
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(2**20, generator=generator) * 0.02).to(args.device)
    for name, tensor in model.state_dict().items():
        if tensor.ndim < 2:
            tensor.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        repeats = -(-tensor.numel() // len(drawn))
        tensor.copy_(drawn.repeat(repeats)[: tensor.numel()].view(tensor.shape))
    return model


def build_pair(args: argparse.Namespace) -> tuple[DominoVPD, PlainVPD]:
    """Both sides with the same weights, for inference."""
    ours, plain = quickly(build_ours, args).eval(), quickly(build_plain, args).eval()
    missing = plain.unet.load_state_dict(ours.unet.state_dict(), strict=False).missing_keys
    assert all(key.startswith(("conv_norm_out.", "conv_out.")) for key in missing)
    plain.vae.encoder.load_state_dict(ours.vae.encoder.state_dict())
    plain.vae.quant_conv.load_state_dict(ours.vae.quant_conv.state_dict())
    context = {f"{k}": v for k, v in ours.context.state_dict().items()}
    assert not plain.load_state_dict(context, strict=False).unexpected_keys
    return ours, plain


def inputs(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images in [-1, 1] and embeddings of their domains."""
    generator = torch.Generator().manual_seed(1)
    width = architecture(args)["unet"]["cross_attention_dim"]
    images = torch.rand(args.batch, 3, *args.size, generator=generator) * 2 - 1
    domain = torch.randn(args.batch, width, generator=generator)
    return images.to(args.device), domain.to(args.device)


def in_precision(call: Callable[[], object], dtype: str, device: str) -> Callable[[], object]:
    """A call under autocast to a precision, or as it is for float32."""
    kind = torch.device(device).type

    def run() -> object:
        with torch.autocast(kind, DTYPES[dtype], enabled=dtype != "float32"):
            return call()

    return run


def apart(ours: tuple[Tensor, ...], plain: tuple[Tensor, ...]) -> float:
    """Largest difference of features, over the largest magnitude of the reference's level."""
    return max(
        float((a.float() - b).abs().max() / b.abs().max()) for a, b in zip(ours, plain, strict=True)
    )


def print_row(name: str, ours: Times, plain: Times, note: str = "") -> None:
    print(
        f"{name:<44} {plain.wall:9.3f} {ours.wall:9.3f} {plain.wall / ours.wall:7.2f}x "
        f"{plain.cpu / ours.cpu:7.2f}x  {note}",
        flush=True,
    )


def rate(flops: float, seconds: float, device: torch.device, dtype: str) -> str:
    """Achieved TFLOP/s and, where the device is known, the share of its peak."""
    achieved = flops / seconds / 1e12
    peak = peak_tflops(device, DTYPES[dtype])
    return f"{achieved:.3g} TFLOP/s" + (f", {achieved / peak:.0%} of {peak:g}" if peak else "")


def meta_flops(args: argparse.Namespace) -> dict[str, float]:
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


def measure_flops(args: argparse.Namespace) -> None:
    for name, flops in meta_flops(args).items():
        print(f"FLOPs, forward, {name:<6} {flops / 1e12:8.3f} T")


def measure_forward(args: argparse.Namespace, taesd: str) -> None:
    """UNet with maps, encoder, whole backbone, and the whole with TAESD."""
    device = torch.device(args.device)
    ours, plain = build_pair(args)
    tiny = build_ours(argparse.Namespace(**{**vars(args), "small": True}), vae=taesd).vae.to(device)
    images, domain = inputs(args)
    latent = torch.randn(args.batch, 4, *(length // 8 for length in args.size)).to(device)
    flops = meta_flops(args)
    outputs: dict[str, Tensor | tuple[Tensor, ...]] = {}

    def keep(name: str, call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            outputs[name] = call()

        return run

    calls = {
        "plain unet": keep("plain unet", lambda: plain.forward_latent(latent, domain)),
        "plain vae": keep("plain vae", lambda: plain.encode(images)),
    }
    for dtype in args.dtypes:
        parts = {
            "unet": lambda: ours.forward_latent(latent, domain, tuple(args.size)),
            "vae": lambda: ours.encode(images),
            "taesd": lambda: tiny(ours._laid_out(images)),
        }
        for part, call in parts.items():
            name = f"{dtype} {part}"
            calls[name] = keep(name, in_precision(call, dtype, args.device))
    with torch.no_grad():
        times = interleave(calls, device, args.repeats, warm_up=int(device.type == "cuda"))
    for dtype in args.dtypes:
        unet, vae, small = (times[f"{dtype} {part}"] for part in ("unet", "vae", "taesd"))
        reference = times["plain unet"], times["plain vae"]
        whole = Times(*(sum(p) for p in zip(*((t.wall, t.cpu) for t in reference), strict=True)))
        note = rate(flops["unet"], unet.wall, device, dtype)
        print_row(f"UNet forward with maps, {dtype}", unet, reference[0], note)
        note = rate(flops["vae"], vae.wall, device, dtype)
        print_row(f"VAE encoder, {dtype}", vae, reference[1], note)
        both = Times(unet.wall + vae.wall, unet.cpu + vae.cpu)
        note = rate(flops["unet"] + flops["vae"], both.wall, device, dtype)
        print_row(f"whole forward, {dtype}", both, whole, note)
        both = Times(unet.wall + small.wall, unet.cpu + small.cpu)
        print_row(f"whole forward with TAESD, {dtype}", both, whole)
        apart_by = apart(outputs[f"{dtype} unet"], outputs["plain unet"])
        encoders = apart((outputs[f"{dtype} vae"],), (outputs["plain vae"],))
        print(f"features differ by {apart_by:.1e}, latents by {encoders:.1e} ({dtype})")


def train_once(args: argparse.Namespace) -> None:
    """In a process of its own: some training steps of one side, printed as JSON."""
    side, dtype = args.worker.split(":")
    device = torch.device(args.device)
    model = quickly(build_ours if side == "ours" else build_plain, args).train()
    images, domain = inputs(args)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5) if args.optimizer == "adamw" else None

    def step() -> None:
        with torch.autocast(device.type, DTYPES[dtype], enabled=dtype != "float32"):
            features = model(images, domain)
        sum(feature.float().square().mean() for feature in features).backward()
        if optimizer is not None:
            optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    times = interleave({"step": step}, device, args.repeats, warm_up=int(device.type == "cuda"))
    print("RESULT", json.dumps([times["step"].wall, times["step"].cpu, peak_gib(device)]))


def run_worker(args: argparse.Namespace, worker: str) -> tuple[Times, float]:
    """Time and peak GiB of a side's training step."""
    command = [sys.executable, "-W", "ignore", *sys.argv, "--worker", worker, "--repeats", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    wall, cpu, peak = json.loads(line.removeprefix("RESULT"))
    return Times(wall, cpu), peak


def measure_training(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    workers = ["plain:float32", *(f"ours:{dtype}" for dtype in args.dtypes)]
    results: dict[str, list[tuple[Times, float]]] = {worker: [] for worker in workers}
    for _ in range(args.repeats):
        for worker in workers:
            results[worker].append(run_worker(args, worker))
            step, peak = results[worker][-1]
            print(
                f"  {worker}: {step.wall:.1f} s, {step.cpu:.1f} s of CPU time, {peak:.2f} GiB",
                flush=True,
            )
    times = {
        worker: Times(*(statistics.median(t) for t in zip(*((t.wall, t.cpu) for t, _ in rows),
                                                           strict=True)))
        for worker, rows in results.items()
    }  # fmt: skip
    peaks = {worker: max(peak for _, peak in rows) for worker, rows in results.items()}
    flops = meta_flops(args)
    # The backward pass computes two products for each of the forward's.
    total = flops["vae"] + 3 * flops["unet"]
    how = " with checkpointing" if args.checkpointing else ""
    for dtype in args.dtypes:
        ours = times[f"ours:{dtype}"]
        note = rate(total, ours.wall, device, dtype)
        print_row(f"training step{how}, {dtype}", ours, times["plain:float32"], note)
        mine, reference = peaks[f"ours:{dtype}"], peaks["plain:float32"]
        print(
            f"{'peak memory of it, GiB':<44} {reference:9.2f} {mine:9.2f} "
            f"{mine / reference:7.2f} of it"
        )


def segmentor(args: argparse.Namespace, backbone: nn.Module, **test_cfg) -> nn.Module:
    """A model over a backbone: our segmentor over ours, the stock one over the reference."""
    channels = architecture(args)["unet"]["block_out_channels"]
    channels = [c + CLASSES * (level in (1, 2)) for level, c in enumerate(channels)]
    torch.manual_seed(2)
    ours = isinstance(backbone, DominoVPD)
    MODELS.register_module(name="GivenBackbone", module=nn.Identity, force=True)
    model = MODELS.build(
        dict(
            type="DominoEncoderDecoder" if ours else "EncoderDecoder",
            backbone=dict(type="GivenBackbone"),
            neck=dict(type="FPN", in_channels=channels, out_channels=256, num_outs=4),
            decode_head=dict(
                type="FPNHead", in_channels=[256] * 4, in_index=[0, 1, 2, 3],
                feature_strides=[8, 16, 32, 64], channels=128, num_classes=CLASSES,
                norm_cfg=dict(type="BN"), dropout_ratio=0,
            ),
        )
    )  # fmt: skip
    model.backbone = backbone
    model.test_cfg = ConfigDict(
        mode="slide", crop_size=(args.crop,) * 2, stride=(args.stride,) * 2, **test_cfg
    )
    return model.to(args.device).eval()


def measure_slide(args: argparse.Namespace) -> None:
    """Slide inference of one image: exact, and with the latent computed once."""
    device = torch.device(args.device)
    ours, plain = build_pair(args)
    args = argparse.Namespace(**{**vars(args), "size": args.slide_size, "batch": 1})
    images, domain = inputs(args)
    plain.domain = domain
    stock = segmentor(args, plain)
    models = {
        kind: segmentor(args, ours, latent=kind, windows_per_batch=args.windows_per_batch)
        for kind in ("window", "image")
    }
    metas = [dict(img_shape=tuple(args.size))]
    outputs: dict[str, Tensor] = {}

    def keep(name: str, call: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            outputs[name] = call()

        return run

    def slide(model: nn.Module) -> Tensor:
        with model._conditioned_on(domain):
            return model.slide_inference(images, metas)

    calls = {"plain": keep("plain", lambda: stock.slide_inference(images, metas))}
    for dtype in args.dtypes:
        for kind, model in models.items():
            call = in_precision(lambda model=model: slide(model), dtype, args.device)
            calls[f"{kind} {dtype}"] = keep(f"{kind} {dtype}", call)
    with torch.no_grad():
        warm_up = int(device.type == "cuda")
        times = interleave(calls, device, args.slide_repeats, warm_up=warm_up)
    expected = outputs["plain"]
    names = {"window": "slide, exact", "image": "slide, latent once"}
    for dtype in args.dtypes:
        for kind, name in names.items():
            result = outputs[f"{kind} {dtype}"].float()
            change = float((result - expected).abs().max() / expected.abs().max())
            other = float((result.argmax(1) != expected.argmax(1)).float().mean())
            note = f"logits differ by {change:.1e}, class of {other:.2%} of the pixels"
            print_row(f"{name}, {dtype}", times[f"{kind} {dtype}"], times["plain"], note)


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
def measure_windows(args: argparse.Namespace) -> None:
    """Latents of windows against those cut out of the whole image's, by distance from the cut."""
    if not args.taesd or not args.frames:
        raise SystemExit("--parts windows needs --taesd and --frames: random weights tell nothing")
    tiny = build_ours(argparse.Namespace(**{**vars(args), "small": True}), vae=args.taesd).vae
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


def taesd_path(args: argparse.Namespace, folder: Path) -> str:
    """TAESD as given, or with random weights."""
    if args.taesd:
        return args.taesd
    AutoencoderTiny().save_pretrained(folder)
    return str(folder)


def main() -> None:
    args = parse_args()
    init_default_scope("mmseg")
    if args.worker:
        train_once(args)
        return
    device = torch.device(args.device)
    print(f"{describe(device)}; PyTorch {torch.__version__}; {args.batch} x {tuple(args.size)}")
    print(f"{'':<44} {'plain, s':>9} {'ours, s':>9} {'faster':>8} {'CPU time':>8}")
    if "flops" in args.parts:
        measure_flops(args)
    if "forward" in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            measure_forward(args, taesd_path(args, Path(folder) / "taesd"))
    if "train" in args.parts:
        measure_training(args)
    if "slide" in args.parts:
        measure_slide(args)
    if "windows" in args.parts:
        measure_windows(args)
    print(f"at the end: {describe(device)}")


if __name__ == "__main__":
    main()
