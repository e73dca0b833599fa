"""Predictions as PNG files, and the archives that benchmark servers take.

Shapes: ``H W`` pixels.
"""

import itertools
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..utils import atomic_write
from ..utils.images import write_image

#: labelId of each Cityscapes trainId.
CITYSCAPES_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_CLASSES = len(CITYSCAPES_LABEL_IDS)


class SubmissionError(ValueError):
    """A submission that a server would refuse or score wrongly."""


@dataclass(frozen=True)
class SubmissionFormat:
    """What a server takes.

    Attributes:
        folder: Folder of the predictions in the archive.
        label_ids: Whether they hold Cityscapes labelIds; else trainIds.
        image_ending: How the names of the set's images end; a prediction has its image's name.
        images: Number of images of the test set.
        size: Height and width of every image.
        uncertainty: Whether the server wants two more folders for its uncertainty-aware measure:
            predictions that may leave pixels out, and 16-bit confidences. They are filled so that
            it equals the plain one: nothing left out, full confidence.
    """

    folder: str
    label_ids: bool
    image_ending: str
    images: int
    size: tuple[int, int]
    uncertainty: bool = False


SUBMISSION_FORMATS = {
    "acdc": SubmissionFormat("labelTrainIds", False, "_rgb_anon.png", 2000, (1080, 1920)),
    "dark_zurich": SubmissionFormat(
        "labelTrainIds", False, "_rgb_anon.png", 151, (1080, 1920), uncertainty=True
    ),
    "cityscapes": SubmissionFormat("labelIds", True, "_leftImg8bit.png", 1525, (1024, 2048)),
}


class PredictionWriter:
    """Writes each prediction as ``FOLDER/DATASET/DOMAIN/PATH.png``, one class index a pixel.

    ``PATH`` is the image's below the folder of its data set's images, so that two sequences may
    have frames of the same name; of an image in none of the folders it is the name.
    """

    def __init__(
        self, folder: str | os.PathLike, image_folders: Sequence[str | os.PathLike] = ()
    ) -> None:
        self.folder, self.image_folders = Path(folder), image_folders
        self._sources: dict[Path, str] = {}

    def write(self, group: str, image: str, prediction: np.ndarray) -> Path:
        """Write one prediction.

        Args:
            group: ``dataset/domain``.
            image: Path of the image.
            prediction: ``(H, W)`` class indices, 0 to 255.

        Raises:
            ValueError: If two images would have the same file.
        """
        path = self.path(group, image)
        write_image(path, prediction.astype(np.uint8))
        return path

    def path(self, group: str, image: str) -> Path:
        """The file of an image's prediction.

        Raises:
            ValueError: If another image that was asked for before has the same.
        """
        path = self.folder / group / self._below_its_folder(image).with_suffix(".png")
        if self._sources.setdefault(path, image) != image:
            raise ValueError(
                f"{image} and {self._sources[path]} would both be written to {path}; give their "
                "data sets different names with SetDomain"
            )
        return path

    def _below_its_folder(self, image: str) -> Path:
        absolute = Path(os.path.abspath(image))
        above = [Path(os.path.abspath(folder)) for folder in self.image_folders]
        found = [folder for folder in above if absolute.is_relative_to(folder)]
        if not found:
            return Path(absolute.name)
        return absolute.relative_to(max(found, key=lambda folder: len(folder.parts)))


class SubmissionWriter:
    """Writes predictions as a server wants them, and the checked archive.

    Args:
        format: Key of :data:`SUBMISSION_FORMATS`.
        folder: Where to; ``FOLDER/FORMAT/...`` and ``FOLDER/FORMAT.zip``.
        images: Number of images of the set; ``None`` for the server's. Another number is for
            trials: such an archive is no submission.
        size: Height and width of the images; ``None`` for the server's. Likewise.

    Raises:
        ValueError: If the format is unknown.
    """

    def __init__(
        self,
        format: str,
        folder: str | os.PathLike,
        images: int | None = None,
        size: Sequence[int] | None = None,
    ) -> None:
        if format not in SUBMISSION_FORMATS:
            raise ValueError(
                f"unknown submission format {format!r}; known: {', '.join(SUBMISSION_FORMATS)}"
            )
        self.name = format
        self.format = SUBMISSION_FORMATS[format]
        self.root = Path(folder) / format
        self.archive = Path(folder) / f"{format}.zip"
        self.images = self.format.images if images is None else images
        self.size = self.format.size if size is None else tuple(size)
        self._table = np.arange(256, dtype=np.uint8)
        if self.format.label_ids:
            self._table[:NUM_CLASSES] = CITYSCAPES_LABEL_IDS

    def write(self, image: str, prediction: np.ndarray) -> Path:
        """Write the prediction of one image.

        Args:
            image: Path of the image.
            prediction: ``(H, W)`` trainIds.

        Raises:
            SubmissionError: If the image is not one of this set by its name, or the prediction has
                a wrong size or values.
        """
        name = Path(image).name
        if not name.endswith(self.format.image_ending):
            raise SubmissionError(
                f"{image} is no image of the {self.name} test set: its name does not end with "
                f"{self.format.image_ending}"
            )
        if prediction.shape != self.size:
            raise SubmissionError(
                f"the prediction of {image} has shape {prediction.shape}, the {self.name} server "
                f"takes {self.size}; is it the original image?"
            )
        if prediction.min() < 0 or prediction.max() >= NUM_CLASSES:
            raise SubmissionError(
                f"the prediction of {image} has values from {prediction.min()} to "
                f"{prediction.max()}, expected trainIds from 0 to {NUM_CLASSES - 1}"
            )
        path = self.root / self.format.folder / name
        write_image(path, self._table[prediction.astype(np.uint8)])
        return path

    def finish(self, images: Sequence[str]) -> Path:
        """Check what was written and make the archive.

        Raises:
            SubmissionError: If names repeat, the number of images is not that of the test set, or
                files are missing, left over from another run, or of a wrong size.
        """
        names = sorted(Path(image).name for image in images)
        repeated = sorted({a for a, b in itertools.pairwise(names) if a == b})
        if repeated:
            raise SubmissionError(f"several images have the name {repeated[0]}")
        if len(names) != self.images:
            raise SubmissionError(
                f"{len(names)} images were predicted, the {self.name} test set has {self.images}; "
                f"{self.archive} was not written. Predict the whole test split in one run."
            )
        folder = self.root / self.format.folder
        found = {path.name for path in folder.glob("[!.]*.png")} if folder.is_dir() else set()
        missing, extra = sorted(set(names) - found), sorted(found - set(names))
        if missing:
            raise SubmissionError(f"{folder} lacks {missing[:3]} ({len(missing)} files)")
        if extra:
            raise SubmissionError(
                f"{folder} holds files of another run: {extra[:3]} ({len(extra)} files); delete "
                "them or choose another folder"
            )
        files = self._files(folder, names)
        with (
            atomic_write(self.archive) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        ):
            # PNG is compressed already. One fixed date makes equal predictions equal archives.
            for inside, path in files:
                archive.writestr(zipfile.ZipInfo(inside), path.read_bytes())
        return self.archive

    def _files(self, folder: Path, names: Sequence[str]) -> list[tuple[str, Path]]:
        """Name in the archive and path of each file, checked."""
        for name in names:
            with Image.open(folder / name) as image:
                if image.size[::-1] != self.size or image.mode != "L":
                    raise SubmissionError(
                        f"{folder / name} is {image.size} pixels of mode {image.mode}, expected "
                        f"{self.size[::-1]} of mode L"
                    )
        files = [(f"{self.format.folder}/{name}", folder / name) for name in names]
        if self.format.uncertainty:
            files += [(f"{self.format.folder}_invalid/{name}", folder / name) for name in names]
            confidence = self.root / "full_confidence.png"
            write_image(confidence, np.full(self.size, 65535, dtype=np.uint16))
            files += [(f"confidence/{name}", confidence) for name in names]
        return files
