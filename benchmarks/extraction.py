"""How close extraction comes to the bare image tower.

    python benchmarks/extraction.py --model ViT-B-16 --images 64 --batch-size 16

Three rates, measured in turns on the same machine: the image tower on ready-made tensors, decoding
and preprocessing alone in as many workers, and the whole extraction into a store. On a GPU the
whole can be no faster than the slower of the two parts; on the CPU they share the cores. The line
after says how much of that bound it reaches.

The last line compares the processor time of this process alone, tower against extraction, without
the workers that decode: what extraction costs beside the tower while decoding keeps up. Unlike the
clock it means the same on a busy machine. (On a GPU it says only how busy the feeding process is.)
Weights are random unless asked for: they change no rate.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from mmseg_domino.domain import DomainEncoder
from mmseg_domino.domain.extraction import decode_loader, extract
from mmseg_domino.utils.images import write_image


def parse_args(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--pretrained", default="random")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--suffix", default=".png", choices=(".png", ".jpg"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(given)


def write_images(folder: Path, args: argparse.Namespace) -> dict[str, Path]:
    """Images that compress about as photographs do: smooth shapes under sensor noise."""
    rng = np.random.default_rng(0)
    images = {}
    for i in range(args.images):
        coarse = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (args.width, args.height), interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, 2, image.shape[:2])[:, :, None]
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        path = images[f"{i:05d}{args.suffix}"] = folder / f"{i:05d}{args.suffix}"
        write_image(path, image)
    return images


def rate(function: Callable[[], int]) -> tuple[float, float]:
    """Of a function that returns how many images it handled: images a second by the clock, and
    seconds an image of this process's processor time."""
    start, used = time.perf_counter(), time.process_time()
    count = function()
    return count / (time.perf_counter() - start), (time.process_time() - used) / count


def bare_tower(encoder: DomainEncoder, pixels: torch.Tensor, batches: int) -> int:
    """Embed the same tensors again and again, fetching the last result only."""
    for _ in range(batches):
        result = encoder.encode_pixels(pixels)
    result.cpu()
    return batches * len(pixels)


def decode(images: dict[str, Path], encoder: DomainEncoder, args: argparse.Namespace) -> int:
    keys = list(images)
    batches = [
        (n, keys[i : i + args.batch_size])
        for n, i in enumerate(range(0, len(keys), args.batch_size))
    ]
    return sum(len(batch[1]) for batch in decode_loader(batches, images, encoder, args.workers))


def measure(args: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """Of tower, decoding and extraction, each round's images a second and CPU seconds an image."""
    device = torch.device(args.device)
    encoder = DomainEncoder(args.model, args.pretrained, precision=args.precision).to(device)
    encoder.text  # noqa: B018  (not part of what is measured)
    encoder.weights_sha256  # noqa: B018
    size = encoder.preprocessing["size"]
    shape = (size, size) if isinstance(size, int) else tuple(size)
    pixels = torch.randn(args.batch_size, 3, *shape, device=device)
    bare_tower(encoder, pixels, 2)  # warm up
    measured: dict[str, list[tuple]] = {"tower": [], "decoding": [], "extraction": []}
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder), args)
        batches = -(-args.images // args.batch_size)
        for n in range(args.rounds):
            out = Path(folder) / f"{n}.safetensors"
            measured["tower"].append(rate(lambda: bare_tower(encoder, pixels, batches)))
            measured["decoding"].append(rate(lambda: decode(images, encoder, args)))
            measured["extraction"].append(rate(lambda o=out: _extract(images, encoder, o, args)))
    return measured


def main() -> None:
    args = parse_args()
    device = torch.device(args.device)
    measured = measure(args)
    rates = {part: [images for images, _ in values] for part, values in measured.items()}
    tower, decoding, extraction = (statistics.median(rates[name]) for name in rates)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(
        f"{args.model} {args.precision}, batch {args.batch_size}, {args.images} images of "
        f"{args.width}x{args.height} {args.suffix[1:]}, {args.workers} workers, "
        f"{name or platform.machine()}, {torch.get_num_threads()} threads of "
        f"{os.cpu_count()} cores, torch {torch.__version__}"
    )
    for part, values in rates.items():
        low, high = min(values), max(values)
        print(f"{part:<10} {statistics.median(values):9.2f} images/s ({low:.2f} to {high:.2f})")
    if device.type == "cpu":
        # Tower and workers compute on the same cores: the times for an image add up.
        limit, bound = "cores that both share", 1 / (1 / tower + 1 / decoding)
    else:
        limit, bound = ("decoding", decoding) if decoding < tower else ("tower", tower)
    print(
        f"extraction / tower {100 * extraction / tower:.1f} %; decoding / tower "
        f"{decoding / tower:.1f}; bound by the {limit}: {bound:.2f} images/s, of which it reaches "
        f"{100 * extraction / bound:.1f} %"
    )
    own, bare = (min(used for _, used in measured[part]) for part in ("extraction", "tower"))
    print(
        f"processor time of this process an image: tower {1e3 * bare:.1f} ms, extraction "
        f"{1e3 * own:.1f} ms; tower / extraction {100 * bare / own:.1f} %"
    )


def _extract(
    images: dict[str, Path], encoder: DomainEncoder, out: Path, args: argparse.Namespace
) -> int:
    report = extract(images, encoder, out, batch_size=args.batch_size, workers=args.workers)
    return report.added


if __name__ == "__main__":
    main()
