"""Predictions of images and videos as pictures, with the domain scores of each.

Shapes: ``H W`` spatial.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from tqdm import tqdm

from ..reporting import DomainLine, annotate, overlay
from ..utils import atomic_write, printable
from ..utils.images import list_images, read_image, write_image
from .prediction import Prediction

_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm"}


class PictureWriter:
    """Predicts, draws, writes, and keeps the domain scores of everything it has drawn.

    Args:
        predict: Image ``(H, W, 3)`` uint8 RGB -> its prediction.
        classes: Names of the classes.
        palette: Their colours, RGB.
        out: Folder of the pictures; paths below an image folder are kept.
        opacity: Of the classes over the image, 0 to 1.
        labels: Folder of the raw label maps, ``(H, W)`` class numbers as 8-bit PNG files; ``None``
            for none.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], Prediction],
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        out: Path,
        opacity: float = 0.55,
        labels: Path | None = None,
    ) -> None:
        self.predict, self.classes, self.palette = predict, classes, palette
        self.out, self.opacity, self.labels = Path(out), opacity, labels
        self.scores: list[tuple[str, Prediction]] = []
        self.unreadable: list[str] = []

    def write(self, *sources: Path) -> None:
        """Predict images, folders and videos; write their pictures and ``domains.csv``.

        What cannot be read is listed in ``unreadable``. Of several sources, a folder's pictures
        come into a folder of its name.

        Raises:
            FileNotFoundError: If a folder has no images.
            ValueError: If a video cannot be read, or two images would have the same name.
        """
        videos = [source for source in sources if source.suffix.lower() in _VIDEOS]
        self._images(_gather([source for source in sources if source not in videos]))
        for video in videos:
            self._video(video)
        if self.scores:
            self._write_scores()

    def _draw(self, name: str, image: np.ndarray) -> tuple[np.ndarray, Prediction]:
        prediction = self.predict(image)
        self.scores.append((name, prediction))
        line = DomainLine(prediction.domain_names, prediction.domain_scores, prediction.forced)
        mixed = overlay(image, prediction.labels, self.palette, self.opacity)
        picture = annotate(mixed, prediction.labels, self.classes, self.palette, line)
        return picture, prediction

    def _images(self, files: dict[str, Path]) -> None:
        names = _picture_names(files)
        for key, file in tqdm(files.items(), unit="image", disable=len(files) < 2):
            try:
                image = read_image(file)
            except ValueError as error:  # the others of the folder are still worth seeing
                self.unreadable.append(str(error))
                continue
            picture, prediction = self._draw(key, image)
            write_image(self.out / names[key], picture)
            if self.labels is not None:
                write_image(self.labels / names[key], prediction.labels)

    def _video(self, path: Path) -> None:
        for name in (path, self.out.absolute()):
            if printable(name) != str(name):
                raise ValueError(
                    f"{printable(name)}: OpenCV takes no video whose path is not UTF-8; rename it"
                )
        source = cv2.VideoCapture(str(path))
        if not source.isOpened():
            raise ValueError(f"{path} is not a readable video")
        rate = source.get(cv2.CAP_PROP_FPS) or 25
        total = int(source.get(cv2.CAP_PROP_FRAME_COUNT)) or None
        with atomic_write(self.out / f"{path.stem}.mp4") as temporary:
            writer, size = None, (0, 0)
            for index, frame in enumerate(tqdm(_frames(source), total=total, unit="frame")):
                picture, prediction = self._draw(f"{path.name}#{index}", frame)
                if self.labels is not None:
                    write_image(self.labels / path.stem / f"{index:06}.png", prediction.labels)
                if writer is None:
                    # Legends grow and shrink; the film is as high as its first frame and a reserve,
                    # and encoders want even sizes.
                    height, width = picture.shape[:2]
                    size = (width + width % 2, (height + height // 8) // 2 * 2)
                    codec = cv2.VideoWriter_fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(temporary), codec, rate, size)
                    if not writer.isOpened():
                        raise OSError(f"this OpenCV cannot write {self.out / path.stem}.mp4")
                writer.write(_fit(picture, size)[..., ::-1])
            source.release()
            if writer is None:
                raise ValueError(f"{path} has no frames")
            writer.release()

    def _write_scores(self) -> None:
        names = next((p.domain_names for _, p in self.scores if p.domain_names), ())
        with atomic_write(self.out / "domains.csv") as temporary, open(temporary, "w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", "domain", "forced", *names])
            for name, prediction in self.scores:
                writer.writerow(
                    [printable(name), prediction.domain or "", prediction.forced or ""]
                    + [f"{score:.4f}" for score in prediction.domain_scores]
                )


def _gather(sources: Sequence[Path]) -> dict[str, Path]:
    """All images by the name that they are reported by."""
    found: dict[str, Path] = {}
    for source in sources:
        own = {source.name: source} if source.is_file() else list_images(source)
        if len(sources) > 1 and source.is_dir():
            own = {f"{source.resolve().name}/{key}": path for key, path in own.items()}
        twice = sorted(set(found) & set(own))
        if twice:
            raise ValueError(
                f"{found[twice[0]]} and {own[twice[0]]} would both be written as {twice[0]}; "
                "give the folder that holds both, or run the command for each"
            )
        found.update(own)
    return found


def _picture_names(files: dict[str, Path]) -> dict[str, str]:
    """``a/x.png`` for the image ``a/x.jpg``, and ``a/x.jpg.png`` where ``a/x.png`` is there too."""
    plain = {key: str(PurePosixPath(key).with_suffix(".png")) for key in files}
    count = Counter(plain.values())
    return {key: name if count[name] == 1 else f"{key}.png" for key, name in plain.items()}


def _frames(source: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        read, frame = source.read()
        if not read:
            return
        yield frame[..., ::-1]


def _fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut or fill with white to ``(width, height)``."""
    width, height = size
    result = np.full((height, width, 3), 255, np.uint8)
    rows, columns = min(height, picture.shape[0]), min(width, picture.shape[1])
    result[:rows, :columns] = picture[:rows, :columns]
    return result
