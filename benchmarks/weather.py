"""Weather by rule: what it costs a training crop, its statistics, and what CLIP makes of it.

    python -m benchmarks.weather data/mini/cityscapes [--clip local-dir:data/mini/models/mini-clip]

The folder is a tree as Cityscapes has it, with labels (and disparity, if it is there). Costs are
process time on one core, of a 512x1024 crop from 2048x1024, and their ratio to the host's own
training pipeline, measured in turns with it. ACDC's published frames have a mean |Laplacian| of 10
(rain), 16 (snow) and 4.5 (night), and nights the mean colour 57, 39, 20.
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

from mmseg_domino.datasets import DrawWeather, RenderWeather
from mmseg_domino.utils.images import list_images, read_image
from mmseg_domino.weather import (
    DOMAINS,
    DepthFiles,
    Ranges,
    Scene,
    describe_view,
    draw_weather,
)

CLASSES = tuple(CityscapesDataset.METAINFO["classes"])
SIZE = (2048, 1024)


def load(root: Path, number: int) -> list[dict]:
    """Images, labels and depths, evenly from the tree."""
    files = DepthFiles(str(root / "disparity/train"), camera_root=str(root / "camera/train"))
    images = list(list_images(root / "leftImg8bit/train").items())
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, number).astype(int)]
    samples = []
    for key, path in chosen:
        name = key.removesuffix("_leftImg8bit.png")
        label = str(root / "gtFine/train" / f"{name}_gtFine_labelTrainIds.png")
        try:
            depth = files.read(name)
        except FileNotFoundError:
            depth = None
        image = read_image(path)
        truth = cv2.imread(label, cv2.IMREAD_UNCHANGED)
        samples.append(dict(path=str(path), image=image, label=truth, depth=depth))
    return samples


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


def costs(samples: list[dict], root: Path) -> None:
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
            draw = DrawWeather(prob=1.0, domains=[domain], depth=given)
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


def made(samples: list[dict], domain: str) -> list[np.ndarray]:
    images = []
    for number, sample in enumerate(samples):
        image, label = sample["image"], sample["label"]
        view = describe_view(image, label, CLASSES, sample["depth"])
        weather = draw_weather(domain, Ranges(), np.random.default_rng(number))
        images.append(weather.put_on(Scene.of_image(image, label, CLASSES, view)))
    return images


def laplacian(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", type=Path, help="a tree as Cityscapes has it")
    parser.add_argument("--number", type=int, default=24, help="images")
    parser.add_argument("--clip", help="also measure what this CLIP makes of them")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    register_all_modules()
    samples = load(args.root, args.number)
    costs(samples[: max(4, args.number // 3)], args.root)
    images = {"clear_day": [s["image"] for s in samples]}
    images |= {domain: made(samples, domain) for domain in DOMAINS}
    print(f"\n{'':12}{'|Laplacian|':>12}   mean colour")
    for domain, some in images.items():
        colour = np.mean([i.reshape(-1, 3).mean(0) for i in some], axis=0)
        print(f"{domain:12}{np.mean([laplacian(i) for i in some]):>12.1f}   {colour.round(0)}")
    if args.clip:
        report_clip(args.clip, images)


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
