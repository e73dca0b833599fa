"""Pixel counts of every image of a test, and their file.

Shapes: ``M`` images, ``N`` classes, ``K`` domains of the prompt bank.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .confusion import miou_from_counts
from .groups import GroupKey
from .stored import read_arrays, refusing, write_arrays

PER_IMAGE_FILE = "per_image.safetensors"
_COUNTS = ("intersection", "prediction", "label")


@dataclass(frozen=True)
class PerImage:
    """Pixel counts of every image, sorted by group and path.

    Attributes:
        images: ``M`` paths.
        groups: ``M`` group keys.
        classes: ``N`` names.
        counts: ``(M, 3, N)`` pixels: intersection, prediction, label.
        domain_scores: ``(M, K)`` ratios, if every image has them and of the same ``K`` domains.
    """

    images: tuple[str, ...]
    groups: tuple[GroupKey, ...]
    classes: tuple[str, ...]
    counts: np.ndarray
    domain_scores: np.ndarray | None = None

    @property
    def label(self) -> np.ndarray:
        """``(M, N)`` pixels of each class in the truth."""
        return self.counts[:, 2]

    @property
    def miou(self) -> np.ndarray:
        """``(M,)`` percent: mean IoU over the classes of the image's truth or prediction."""
        return miou_from_counts(self.counts)

    @cached_property
    def rows(self) -> dict[GroupKey, list[int]]:
        """The rows of each group, by path."""
        found: dict[GroupKey, list[int]] = {}
        for row in sorted(range(len(self.images)), key=lambda i: self.images[i]):
            found.setdefault(self.groups[row], []).append(row)
        return found

    def by_group(self) -> dict[GroupKey, np.ndarray]:
        """``(M, 3, N)`` of each group, in the order of its images' paths."""
        return {key: self.counts[rows] for key, rows in self.rows.items()}


def write_per_image(images: PerImage, path: Path) -> str:
    """Write the counts; return the file's SHA-256."""
    arrays = {name: images.counts[:, i].astype(np.int32) for i, name in enumerate(_COUNTS)}
    if images.domain_scores is not None:
        arrays["domain_scores"] = images.domain_scores.astype(np.float32)
    header = {name: list(getattr(images, name)) for name in ("images", "groups", "classes")}
    return write_arrays(path, arrays, header)


def load_per_image(path: str | os.PathLike, sha256: str | None = None) -> PerImage | None:
    """Read ``per_image.safetensors``; ``None`` if it is not there.

    Raises:
        ResultsError: If it is damaged or another file.
    """
    file = Path(path)
    stored = read_arrays(file, sha256)
    if stored is None:
        return None
    arrays, header = stored
    with refusing(file):
        return PerImage(
            images=tuple(header["images"]),
            groups=tuple(map(GroupKey, header["groups"])),
            classes=tuple(header["classes"]),
            counts=np.stack([arrays[name] for name in _COUNTS], axis=1),
            domain_scores=arrays.get("domain_scores"),
        )
