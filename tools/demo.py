"""Show what a Domino model sees in an image, a folder of images or a video.

Each prediction is laid over its image, with the domain and its scores above and a legend of the
classes below. `--force-domain night` has the model take every image to be of that domain.
`--web` opens a local page instead, where two domains can be compared side by side.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from tqdm import tqdm

from mmseg_domino.apps.inference import Prediction, domains_of, init_domino_model, predict_image
from mmseg_domino.datasets import LoadCheckedImage
from mmseg_domino.reporting import DomainLine, annotate, overlay
from mmseg_domino.utils import atomic_write

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="?", help="image, folder or video (not with --web)")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", default="demo", help="folder to write into (default: demo)")
    parser.add_argument("--device", help="such as cuda:0 (default: the machine's best)")
    parser.add_argument("--opacity", type=float, default=0.55, help="of the classes, 0 to 1")
    parser.add_argument("--force-domain", metavar="NAME", help="a domain of the prompt bank")
    parser.add_argument("--web", action="store_true", help="open a page on this machine")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings of the config"
    )
    parser.add_argument("--port", type=int, default=7860, help="of the page (default: 7860)")
    args = parser.parse_args()
    if args.input is None and not args.web:
        parser.error("give an image, a folder or a video, or --web")
    if not 0 <= args.opacity <= 1:
        parser.error(f"--opacity must be between 0 and 1, got {args.opacity}")
    return args


def read_image(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: If the file is empty, truncated or no image; names it.
    """
    return LoadCheckedImage()({"img_path": str(path)})["img"][..., ::-1]


def find_images(path: Path) -> list[Path]:
    """The image, or those of the folder and the folders in it.

    Raises:
        ValueError: If there are none.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGES)
    if not found:
        raise ValueError(f"{path} holds no images ({', '.join(sorted(IMAGES))})")
    return found


class Demo:
    """Predicts and draws; keeps the domain scores of everything it has drawn."""

    def __init__(self, args: argparse.Namespace) -> None:
        config = Config.fromfile(args.config)
        config.merge_from_dict(args.cfg_options or {})
        self.model = init_domino_model(config, args.checkpoint, args.device or get_device())
        self.forced, self.opacity, self.out = args.force_domain, args.opacity, Path(args.out)
        if self.forced is not None and self.forced not in domains_of(self.model):
            known = ", ".join(domains_of(self.model))
            raise ValueError(f"unknown domain '{self.forced}'; the model's are {known}")
        self.scores: list[tuple[str, Prediction]] = []
        self.unreadable: list[str] = []

    def draw(self, name: str, image: np.ndarray) -> np.ndarray:
        prediction = predict_image(self.model, image, self.forced)
        self.scores.append((name, prediction))
        meta = self.model.dataset_meta
        line = DomainLine(prediction.domain_names, prediction.domain_scores, prediction.forced)
        mixed = overlay(image, prediction.labels, meta["palette"], self.opacity)
        return annotate(mixed, prediction.labels, meta["classes"], meta["palette"], line)

    def images(self, path: Path) -> None:
        files = find_images(path)
        root = path.parent if path.is_file() else path
        for file in tqdm(files, unit="image", disable=len(files) == 1):
            relative = file.relative_to(root)
            try:
                image = read_image(file)
            except ValueError as error:  # the others of the folder are still worth seeing
                self.unreadable.append(str(error))
                continue
            picture = self.draw(relative.as_posix(), image)
            # The suffix stays in the name: a.jpg and a.png may lie side by side.
            target = self.out / relative.with_name(f"{relative.name}.png")
            with atomic_write(target) as temporary:
                cv2.imwrite(str(temporary), picture[..., ::-1])

    def video(self, path: Path) -> None:
        source = cv2.VideoCapture(str(path))
        if not source.isOpened():
            raise ValueError(f"{path} is not a readable video")
        rate = source.get(cv2.CAP_PROP_FPS) or 25
        total = int(source.get(cv2.CAP_PROP_FRAME_COUNT)) or None
        with atomic_write(self.out / f"{path.stem}.mp4") as temporary:
            writer, size = None, (0, 0)
            for index, frame in enumerate(tqdm(frames(source), total=total, unit="frame")):
                picture = self.draw(f"{path.name}#{index}", frame)
                if writer is None:
                    # Legends grow and shrink; the film is as high as its first frame and a reserve,
                    # and encoders want even sizes.
                    height, width = picture.shape[:2]
                    size = (width + width % 2, (height + height // 8) // 2 * 2)
                    codec = cv2.VideoWriter_fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(temporary), codec, rate, size)
                writer.write(fit(picture, size)[..., ::-1])
            source.release()
            if writer is None:
                raise ValueError(f"{path} has no frames")
            writer.release()

    def write_scores(self) -> None:
        """``domains.csv``: the scores of each image or frame."""
        names = next((p.domain_names for _, p in self.scores if p.domain_names), ())
        with atomic_write(self.out / "domains.csv") as temporary, open(temporary, "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "domain", "forced", *names])
            for name, prediction in self.scores:
                writer.writerow(
                    [name, prediction.domain or "", prediction.forced or ""]
                    + [f"{score:.4f}" for score in prediction.domain_scores]
                )


def frames(source: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        read, frame = source.read()
        if not read:
            return
        yield frame[..., ::-1]


def fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut or fill with white to ``(width, height)``."""
    width, height = size
    result = np.full((height, width, 3), 255, np.uint8)
    rows, columns = min(height, picture.shape[0]), min(width, picture.shape[1])
    result[:rows, :columns] = picture[:rows, :columns]
    return result


def main() -> int:
    args = parse_args()
    try:
        path = None if args.web else Path(args.input)
        if path is not None and not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
        demo = Demo(args)
        if args.web:
            from mmseg_domino.apps.web import build_page

            build_page(demo.model).launch(
                server_name="127.0.0.1", server_port=args.port, share=False, inbrowser=True
            )
            return 0
        demo.video(path) if path.suffix.lower() in VIDEOS else demo.images(path)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if demo.scores:
        demo.write_scores()
        print(f"written: {len(demo.scores)} predictions and domains.csv in {demo.out}")
    if len(demo.scores) == 1:
        prediction = demo.scores[0][1]
        print(DomainLine(prediction.domain_names, prediction.domain_scores, prediction.forced))
    for message in demo.unreadable:
        print(f"error: {message}", file=sys.stderr)
    return int(bool(demo.unreadable))


if __name__ == "__main__":
    sys.exit(main())
