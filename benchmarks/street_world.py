"""How fast the street world is drawn, and how its pictures compare with real frames.

    python benchmarks/street_world.py --real day=IMAGES,LABELS dusk=IMAGES,LABELS

Throughput: scenes sampled, painted and rendered in a new domain each, in one process with one
thread, and in two processes side by side; the median of three rounds, by the clock and by the
processors' own time, which other work on the machine distorts less. Statistics: class shares
beside those of Cityscapes' training set and of the labels given (CamVid's 11 classes); colour,
contrast, haze and edges by domain beside those of the photographs in the folders given. All
pictures are compared at 256 rows.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np

from mmseg_domino.utils.images import list_images, read_image
from street_world.street import CLASSES, DOMAINS, HELD_OUT_DOMAINS, build, render, sample_scene

# Percent of the labelled pixels of Cityscapes' 2,975 fine training labels.
CITYSCAPES = (
    36.9, 6.1, 22.8, 0.66, 0.88, 1.23, 0.21, 0.55, 15.9, 1.16,
    4.0, 1.22, 0.13, 7.0, 0.27, 0.24, 0.23, 0.10, 0.41,
)  # fmt: skip
ROWS = 256

# CamVid's 11 classes (SegNet's selection) made of ours.
CAMVID = {
    "sky": ("sky",), "building": ("building", "wall"), "pole": ("pole",), "road": ("road",),
    "pavement": ("sidewalk",), "tree": ("vegetation", "terrain"),
    "sign": ("traffic sign", "traffic light"), "fence": ("fence",),
    "car": ("car", "truck", "bus", "train"), "pedestrian": ("person",),
    "bicyclist": ("rider", "bicycle", "motorcycle"),
}  # fmt: skip


def render_some(seeds: list[int]) -> float:
    """Draw one picture a seed, the domains in turn; seconds of processor time it took."""
    cv2.setNumThreads(1)
    start = time.process_time()
    for index, seed in enumerate(seeds):
        render(sample_scene(seed), DOMAINS[index % len(DOMAINS)], 0.8)
    return time.process_time() - start


def throughput(images: int, workers: int) -> tuple[float, float]:
    """Images a second by the clock, and processor time of one image in milliseconds.

    Medians of three rounds, after a round that makes the textures.
    """
    groups = [list(range(worker, images * workers, workers)) for worker in range(workers)]
    rates, costs = [], []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in range(4):
            start = time.perf_counter()
            spent = sum(pool.map(render_some, groups))
            rates.append(images * workers / (time.perf_counter() - start))
            costs.append(1000 * spent / (images * workers))
    return statistics.median(rates[1:]), statistics.median(costs[1:])


def class_shares(scenes: int) -> np.ndarray:
    """Percent of the labelled pixels, (N,)."""
    counts = np.zeros(256)
    for seed in range(scenes):
        counts += np.bincount(build(sample_scene(seed)).buffer.label.ravel(), minlength=256)
    return 100 * counts[: len(CLASSES)] / counts[: len(CLASSES)].sum()


def picture_statistics(image: np.ndarray) -> np.ndarray:
    """Mean R, G, B, saturation, contrast, haze and edges of an RGB picture, scale 0 to 255.

    Contrast is the standard deviation of grey values; haze the mean dark channel, which needs no
    depth: the least of R, G, B within 15 x 15 pixels, near 0 in clear air and near the airlight in
    fog (He, Sun, Tang, Single Image Haze Removal Using Dark Channel Prior, CVPR 2009). Edges are
    the mean size of the grey values' gradient; that of the upper half, where far things are,
    stands last.
    """
    width = round(image.shape[1] * ROWS / image.shape[0])
    image = cv2.resize(image, (width, ROWS), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].mean()
    haze = cv2.erode(image.min(2), np.ones((15, 15), np.uint8)).mean()
    gradient = np.hypot(
        cv2.Sobel(grey, -1, 1, 0, scale=1 / 8), cv2.Sobel(grey, -1, 0, 1, scale=1 / 8)
    )
    edges = (gradient.mean(), gradient[: ROWS // 2].mean())
    return np.array((*image.mean((0, 1)), saturation, grey.std(), haze, *edges))


def real_statistics(folder: str) -> tuple[int, np.ndarray]:
    paths = list_images(folder).values()
    return len(paths), np.mean([picture_statistics(read_image(path)) for path in paths], 0)


def real_shares(folder: str) -> np.ndarray:
    """Percent of the labelled pixels of each of CamVid's classes, (11,); 11 is void."""
    counts = np.zeros(256)
    for path in list_images(folder).values():
        counts += np.bincount(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ravel(), minlength=256)
    return 100 * counts[: len(CAMVID)] / counts[: len(CAMVID)].sum()


def print_throughput(images: int) -> None:
    print("| processes | images/s at 256 x 512 | processor time an image, ms |\n|---|---|---|")
    for workers in (1, 2):
        rate, cost = throughput(images, workers)
        print(f"| {workers} | {rate:.1f} | {cost:.1f} |", flush=True)


def print_classes(shares: np.ndarray, real: dict[str, np.ndarray]) -> None:
    print("\n| class | street world % | Cityscapes % |\n|---|---|---|")
    for name, share, city in zip(CLASSES, shares, CITYSCAPES, strict=True):
        print(f"| {name} | {share:.2f} | {city} |")
    if not real:
        return
    print("\n| CamVid's class | street world % | " + " % | ".join(real) + " % |")
    print("|---|---|" + "---|" * len(real))
    for index, (name, ours) in enumerate(CAMVID.items()):
        share = sum(shares[CLASSES.index(part)] for part in ours)
        others = " | ".join(f"{values[index]:.2f}" for values in real.values())
        print(f"| {name} | {share:.2f} | {others} |")


def print_pictures(scenes: int, real: dict[str, tuple[int, np.ndarray]]) -> None:
    print("\n| pictures | number | R | G | B | saturation | contrast | haze | edges | far edges |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    geometries = [(scene, build(scene)) for scene in map(sample_scene, range(scenes))]
    rows = {}
    for domain in (*DOMAINS, *HELD_OUT_DOMAINS):
        values = [
            picture_statistics(render(scene, domain, 0.8, geometry).image)
            for scene, geometry in geometries
        ]
        rows[domain] = len(values), np.mean(values, 0)
    for name, (number, values) in {**rows, **real}.items():
        print(f"| {name} | {number} | " + " | ".join(f"{value:.1f}" for value in values) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=60, help="for the statistics")
    parser.add_argument("--images", type=int, default=40, help="a process, for the throughput")
    parser.add_argument("--real", nargs="*", default=[], metavar="NAME=IMAGES[,LABELS]")
    args = parser.parse_args()

    pictures, labels = {}, {}
    for item in args.real:
        name, _, folders = item.partition("=")
        images, _, label = folders.partition(",")
        pictures[f"photographs: {name}"] = real_statistics(images)
        if label:
            labels[f"photographs: {name}"] = real_shares(label)
    print_throughput(args.images)
    print_classes(class_shares(args.scenes), labels)
    print_pictures(args.scenes, pictures)


if __name__ == "__main__":
    main()
