"""Pixel counts of every image of a test, and their file.

Shapes: ``M`` images, ``N`` classes, ``K`` domains of the prompt bank.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..utils import atomic_write
from .confusion import miou_from_counts
from .groups import GroupKey

PER_IMAGE_FILE = "per_image.safetensors"
_COUNTS = ("intersection", "prediction", "label")


class ResultsError(ValueError):
    """Results that cannot be used; the message names the file and what to do."""


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


def write_per_image(images: PerImage, path: str | os.PathLike) -> str:
    """Write the counts; return the file's SHA-256."""
    tensors = {
        name: np.ascontiguousarray(images.counts[:, i], dtype=np.int32)
        for i, name in enumerate(_COUNTS)
    }
    if images.domain_scores is not None:
        tensors["domain_scores"] = np.ascontiguousarray(images.domain_scores, dtype=np.float32)
    header = {
        "images": list(images.images),
        "groups": list(images.groups),
        "classes": list(images.classes),
    }
    content = save(tensors, metadata={"mmseg_domino": json.dumps(header)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_per_image(path: str | os.PathLike, sha256: str | None = None) -> PerImage | None:
    """Read ``per_image.safetensors``; ``None`` if it is not there.

    Raises:
        ResultsError: If it is damaged or another file.
    """
    file = Path(path)
    if not file.is_file():
        return None
    if sha256 is not None and hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise ResultsError(
            f"{file} is not the file that was written with the results beside it: it is damaged or "
            "of another test; run the test again"
        )
    try:
        with safe_open(file, framework="np") as reader:
            header = json.loads((reader.metadata() or {})["mmseg_domino"])
            scored = "domain_scores" in reader.keys()  # noqa: SIM118
            scores = reader.get_tensor("domain_scores") if scored else None
            images = PerImage(
                images=tuple(header["images"]),
                groups=tuple(map(GroupKey, header["groups"])),
                classes=tuple(header["classes"]),
                counts=np.stack([reader.get_tensor(name) for name in _COUNTS], axis=1),
                domain_scores=scores,
            )
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ResultsError(f"{file}: damaged or not written by a test ({error})") from error
    expected = (len(images.images), 3, len(images.classes))
    if len(images.groups) != expected[0] or images.counts.shape != expected:
        raise ResultsError(f"{file}: its arrays do not have the shape (images, classes) = "
                           f"{expected[::2]}")  # fmt: skip
    if scores is not None and (len(scores) != expected[0] or not np.isfinite(scores).all()):
        raise ResultsError(f"{file}: its domain scores are damaged; run the test again")
    if len(set(zip(images.groups, images.images, strict=True))) < expected[0]:
        raise ResultsError(f"{file}: an image is in it twice; run the test again")
    return images
