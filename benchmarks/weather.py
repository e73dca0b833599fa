"""Weather by rule: its statistics, what CLIP makes of it, and what it costs a training crop.

    python -m benchmarks.weather data/camvid --sheets work_dirs/weather
    python -m benchmarks.weather data/mini/cityscapes --clip local-dir:data/mini/models/mini-clip
    python -m benchmarks.weather data/mini/cityscapes --costs

The folder is a tree as CamVid has it (frames by day are taken) or as Cityscapes, with labels (and
disparity, if it is there). Costs are process time on one core, of a 512x1024 crop from 2048x1024,
and their ratio to the host's own training pipeline, measured in turns with it. ACDC's published
frames have a mean |Laplacian| of 10 (rain), 16 (snow) and 4.5 (night), and nights the mean colour
57, 39, 20.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from mmcv.transforms import Compose
from mmseg.datasets import CityscapesDataset
from mmseg.utils import register_all_modules

from mmseg_domino.datasets import CamVidDataset, DrawWeather, RenderWeather
from mmseg_domino.utils import atomic_write
from mmseg_domino.utils.images import list_images, read_image
from mmseg_domino.weather import (
    DOMAINS,
    DepthFiles,
    Ranges,
    Scene,
    describe_view,
    draw_weather,
)

SIZE = (2048, 1024)


def load(root: Path, number: int) -> tuple[list[dict], tuple[str, ...]]:
    """Images, labels and depths, evenly from the tree, and the names of its classes."""
    camvid = (root / "img/day").is_dir()
    images, labels, endings, data = (
        (root / "img/day", root / "label/day", (".jpg", ".png"), CamVidDataset)
        if camvid
        else (
            root / "leftImg8bit/train",
            root / "gtFine/train",
            ("_leftImg8bit.png", "_gtFine_labelTrainIds.png"),
            CityscapesDataset,
        )
    )
    files = DepthFiles(str(root / "disparity/train"), camera_root=str(root / "camera/train"))
    found = list(list_images(images).items())
    samples = []
    for key, path in (found[i] for i in np.linspace(0, len(found) - 1, number).astype(int)):
        name = key.removesuffix(endings[0])
        try:
            depth = files.read(name)
        except FileNotFoundError:
            depth = None
        label = cv2.imread(str(labels / f"{name}{endings[1]}"), cv2.IMREAD_UNCHANGED)
        samples.append(dict(path=str(path), image=read_image(path), label=label, depth=depth))
    return samples, tuple(data.METAINFO["classes"])


def of_host(sample: dict) -> dict:
    """A sample as the host's transforms pass it, at Cityscapes' size."""
    image = cv2.resize(sample["image"], SIZE, interpolation=cv2.INTER_CUBIC)
    label = cv2.resize(sample["label"], SIZE, interpolation=cv2.INTER_NEAREST)
    return dict(
        img=np.ascontiguousarray(image[..., ::-1]),
        gt_seg_map=label,
        seg_fields=["gt_seg_map"],
        img_path=sample["path"],
        img_shape=label.shape,
        ori_shape=label.shape,
    )


def milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start)


def costs(samples: list[dict], classes: tuple[str, ...], root: Path) -> None:
    geometry = [
        dict(type="RandomResize", scale=SIZE, ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type="RandomCrop", crop_size=(512, 1024), cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
    ]
    host = Compose([*geometry, dict(type="PhotoMetricDistortion")])
    depth = None
    if (root / "disparity/train").is_dir():
        cameras = str(root / "camera/train") if (root / "camera/train").is_dir() else None
        depth = dict(
            root=str(root / "disparity/train"), image_suffix="_leftImg8bit", camera_root=cameras
        )
    print(f"{'':24}{'ms a crop':>10}{'ratio to the host':>20}")
    for name, given in (("plane", None), ("disparity", depth)):
        if name == "disparity" and depth is None:
            continue
        for domain in DOMAINS:
            draw = DrawWeather(prob=1.0, domains=[domain], depth=given, classes=classes)
            with_weather = Compose(
                [draw, *geometry, RenderWeather(), dict(type="PhotoMetricDistortion")]
            )
            plain, weather = [], []
            for number, sample in enumerate(samples):
                for pipeline, times in ((host, plain), (with_weather, weather)):
                    np.random.seed(number)
                    results = of_host(sample)
                    times.append(milliseconds(lambda p=pipeline, r=results: p(r)))
            extra = np.median(weather) - np.median(plain)
            ratio = np.median(weather) / np.median(plain)
            print(f"{name + ', ' + domain:24}{extra:>+10.0f}{ratio:>20.2f}")


def made(samples: list[dict], classes: tuple[str, ...], domain: str) -> list[np.ndarray]:
    images = []
    for number, sample in enumerate(samples):
        image, label = sample["image"], sample["label"]
        view = describe_view(image, label, classes, sample["depth"])
        weather = draw_weather(domain, Ranges(), np.random.default_rng(number))
        images.append(weather.put_on(Scene.of_image(image, label, classes, view)))
    return images


def laplacian(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path, help="a tree as CamVid or Cityscapes has it")
    parser.add_argument("--number", type=int, default=20, help="images")
    parser.add_argument("--clip", help="also measure what this CLIP makes of them")
    parser.add_argument("--costs", action="store_true", help="also measure what a crop costs")
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of all images by domain")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    register_all_modules()
    samples, classes = load(args.root, args.number)
    if args.costs:
        costs(samples[: max(4, args.number // 3)], classes, args.root)
    images = {"clear_day": [s["image"] for s in samples]}
    images |= {domain: made(samples, classes, domain) for domain in DOMAINS}
    print(f"\n{'':12}{'|Laplacian|':>12}   mean colour")
    for domain, some in images.items():
        colour = np.mean([i.reshape(-1, 3).mean(0) for i in some], axis=0)
        print(f"{domain:12}{np.mean([laplacian(i) for i in some]):>12.1f}   {colour.round(0)}")
    if args.clip:
        report_clip(args.clip, images)
    for domain, some in images.items() if args.sheets else ():
        with atomic_write(args.sheets / f"{domain}.png") as temporary:
            cv2.imwrite(str(temporary), sheet(some)[..., ::-1])


def sheet(images: list[np.ndarray], columns: int = 4) -> np.ndarray:
    """All images side by side."""
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    rows[-1] += [np.zeros_like(images[0])] * (columns - len(rows[-1]))
    return np.vstack([np.hstack(row) for row in rows])


def report_clip(model: str, images: dict[str, list[np.ndarray]]) -> None:
    """Which domain CLIP takes images of each weather for."""
    import torch

    from mmseg_domino.domain import DomainEncoder

    torch.set_num_threads(1)
    encoder = DomainEncoder(model)
    keys = encoder.text.keys
    print(f"\ntaken by {model} for: {', '.join(keys)}")
    for domain, some in images.items():
        scores = encoder(torch.stack([encoder.prepare(i) for i in some]))[0]
        print(f"{domain:12}{torch.bincount(scores.argmax(1), minlength=len(keys)).tolist()}")


if __name__ == "__main__":
    main()
