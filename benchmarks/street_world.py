"""How fast the street world is drawn, and how its pictures compare with real frames.

    python benchmarks/street_world.py --real day=FOLDER dusk=FOLDER

Throughput: scenes sampled, painted and rendered in a new domain each, in one process with one
thread, and in two processes side by side; the median of three rounds. Statistics: class shares
beside those of Cityscapes' training set, colour, contrast and edges by domain beside those of the
photographs in the folders given. All pictures are compared at 256 rows.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from mmseg_domino.mini.street import CLASSES, DOMAINS, HELD_OUT_DOMAINS, build, render, sample_scene

# Percent of the labelled pixels of Cityscapes' 2,975 fine training labels.
CITYSCAPES = (
    36.9, 6.1, 22.8, 0.66, 0.88, 1.23, 0.21, 0.55, 15.9, 1.16,
    4.0, 1.22, 0.13, 7.0, 0.27, 0.24, 0.23, 0.10, 0.41,
)  # fmt: skip
ROWS = 256


def render_some(seeds: list[int]) -> int:
    """Draw one picture a seed, the domains in turn."""
    cv2.setNumThreads(1)
    for index, seed in enumerate(seeds):
        render(sample_scene(seed), DOMAINS[index % len(DOMAINS)], 0.8)
    return len(seeds)


def throughput(images: int, workers: int) -> float:
    """Images a second: median of three rounds, after a round that makes the textures."""
    groups = [list(range(worker, images * workers, workers)) for worker in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        rates = []
        for _ in range(4):
            start = time.perf_counter()
            done = sum(pool.map(render_some, groups))
            rates.append(done / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def class_shares(scenes: int) -> np.ndarray:
    """Percent of the labelled pixels, (N,)."""
    counts = np.zeros(256)
    for seed in range(scenes):
        counts += np.bincount(build(sample_scene(seed)).buffer.label.ravel(), minlength=256)
    return 100 * counts[: len(CLASSES)] / counts[: len(CLASSES)].sum()


def picture_statistics(image: np.ndarray) -> np.ndarray:
    """Mean R, G, B, saturation, contrast and edges of an RGB picture, on the scale 0 to 255.

    Contrast is the standard deviation of grey values, edges the mean size of their gradient; the
    gradient of the upper half, where far things are, stands last.
    """
    width = round(image.shape[1] * ROWS / image.shape[0])
    image = cv2.resize(image, (width, ROWS), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].mean()
    gradient = np.hypot(
        cv2.Sobel(grey, -1, 1, 0, scale=1 / 8), cv2.Sobel(grey, -1, 0, 1, scale=1 / 8)
    )
    edges = (gradient.mean(), gradient[: ROWS // 2].mean())
    return np.array((*image.mean((0, 1)), saturation, grey.std(), *edges))


def real_statistics(folder: str) -> tuple[int, np.ndarray]:
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".jpg", ".png"))
    if not paths:
        raise FileNotFoundError(f"no .jpg or .png below {folder!r}")
    images = (cv2.imread(str(path))[..., ::-1] for path in paths)
    return len(paths), np.mean([picture_statistics(np.ascontiguousarray(i)) for i in images], 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=60, help="for the statistics")
    parser.add_argument("--images", type=int, default=40, help="a process, for the throughput")
    parser.add_argument("--real", nargs="*", default=[], metavar="NAME=FOLDER")
    args = parser.parse_args()

    print("| processes | images/s at 256 x 512 |\n|---|---|")
    for workers in (1, 2):
        print(f"| {workers} | {throughput(args.images, workers):.1f} |", flush=True)

    print("\n| class | street world % | Cityscapes % |\n|---|---|---|")
    for name, share, real in zip(CLASSES, class_shares(args.scenes), CITYSCAPES, strict=True):
        print(f"| {name} | {share:.2f} | {real} |")

    print("\n| pictures | number | R | G | B | saturation | contrast | edges | far edges |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = {}
    geometries = [(scene, build(scene)) for scene in map(sample_scene, range(args.scenes))]
    for domain in (*DOMAINS, *HELD_OUT_DOMAINS):
        values = [
            picture_statistics(render(scene, domain, 0.8, geometry).image)
            for scene, geometry in geometries
        ]
        rows[domain] = len(values), np.mean(values, 0)
    for item in args.real:
        name, _, folder = item.partition("=")
        rows[f"photographs: {name}"] = real_statistics(folder)
    for name, (number, values) in rows.items():
        print(f"| {name} | {number} | " + " | ".join(f"{value:.1f}" for value in values) + " |")


if __name__ == "__main__":
    main()
