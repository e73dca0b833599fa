"""Time and memory of DomainIoUMetric beside MMSegmentation's IoUMetric on the same predictions.

    python benchmarks/evaluation.py [--images 200] [--size 1024 2048] [--device cpu]

Prints one row a metric: milliseconds an image for counting (the median image), on the clock and of
processor time (which other work on the machine disturbs less), the memory that its state takes an
image (which includes a constant part), and seconds to the final figures. The
predictions are smooth random label maps; logits are not timed unless --logits (the check for NaN
reads them, as a real test does).
"""

import argparse
import logging
import pickle
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric

from mmseg_domino import metrics
from mmseg_domino.evaluation import DomainIoUMetric

CLASSES = 19


def smooth_labels(size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """``(1, H, W)`` labels with regions a few dozen pixels wide, as labels have."""
    coarse = torch.randn(1, CLASSES, size[0] // 32, size[1] // 32, generator=generator)
    return F.interpolate(coarse, size, mode="bilinear").argmax(1)


def make_samples(count: int, size: tuple[int, int], device: str, logits: bool) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(count):
        label = smooth_labels(size, generator)
        wrong = torch.rand(label.shape, generator=generator) < 0.1
        prediction = torch.where(wrong, label.roll(40, -1), label)
        label[torch.rand(label.shape, generator=generator) < 0.1] = 255
        sample = {
            "pred_sem_seg": {"data": prediction.to(device)},
            "gt_sem_seg": {"data": label.to(device)},
            "img_path": f"{i}.png",
            "dataset": "acdc",
            "domain": ("fog", "night", "rain", "snow")[i % 4],
        }
        if logits:
            sample["seg_logits"] = {"data": torch.randn(CLASSES, *size, device=device)}
        samples.append(sample)
    return samples


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(metric, samples: list[dict], images: int, device: str) -> tuple[float, ...]:
    """Median ms an image on the clock and of the processor, bytes an image, seconds to finish."""
    metric.dataset_meta = CityscapesDataset.METAINFO
    times, busy = [], []
    for i in range(images):
        sample = dict(samples[i % len(samples)], img_path=f"{i}.png")
        synchronize(device)
        start, start_busy = time.perf_counter(), time.process_time()
        metric.process({}, [sample])
        synchronize(device)
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    state = metric.results or metric.counted
    size = len(pickle.dumps(state))
    start = time.perf_counter()
    metric.evaluate(images)
    finish = time.perf_counter() - start
    clock, processor = (1000 * statistics.median(values) for values in (times, busy))
    return clock, processor, size / images, finish


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, help="images to count")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--logits", action="store_true", help="with logits, as in a real test")
    args = parser.parse_args()
    MMLogger.get_instance("mmengine", log_level="WARNING")
    logging.disable(logging.INFO)
    samples = make_samples(4, tuple(args.size), args.device, args.logits)
    rows = {
        "IoUMetric (stock)": IoUMetric(iou_metrics=["mIoU"]),
        "DomainIoUMetric": DomainIoUMetric(),
    }
    if args.logits:
        rows["DomainIoUMetric(calibration=True)"] = DomainIoUMetric(calibration=True)
        for sample in samples:
            sample["pred_sem_seg"]["data"] = sample["seg_logits"]["data"].argmax(0, keepdim=True)
    print(f"{args.images} images of {args.size[0]}x{args.size[1]}, {args.device}, "
          f"{torch.get_num_threads()} threads\n")  # fmt: skip
    print("| metric | ms an image | CPU ms an image | state, bytes an image | to the figures, s |")
    print("|---|---|---|---|---|")
    first = None
    for name, metric in rows.items():
        clock, busy, size, finish = measure(metric, samples, args.images, args.device)
        first = first or (clock, busy)
        times = " | ".join(
            f"{t:.1f} ({t / f:.2f}x)" for t, f in zip((clock, busy), first, strict=True)
        )
        print(f"| {name} | {times} | {size:.0f} | {finish:.2f} |")
    counts = np.random.default_rng(0).integers(0, 10**5, (5000, 3, CLASSES))
    start = time.perf_counter()
    metrics.measure({"data/domain": counts})["data/domain/mIoU"].interval()
    print(f"\ninterval over 5,000 images: {1000 * (time.perf_counter() - start):.0f} ms")


if __name__ == "__main__":
    main()
