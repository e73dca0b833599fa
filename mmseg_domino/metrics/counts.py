"""What is counted while a test runs, and how the counts of several processes are joined.

Shapes: ``N`` classes, ``F`` fine bins of the confidence, ``K`` domains of the prompt bank.
"""

import base64
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .confusion import counts_of

#: How many of a process's last images can still be taken back, see :func:`merge_counts`.
_RECENT = 8


@dataclass(frozen=True)
class ImageCount:
    """One image.

    Attributes:
        group: ``dataset/domain``.
        image: Its path.
        size: Height and width of the prediction.
        confusion: ``(N, N)`` int64, rows truth, columns prediction; ``None`` if it has no label.
        histogram: ``(3, F)`` int64 of its confidences, or ``None``.
        scores: ``(K,)`` ratios that the domain encoder gave, or ``None``.
        score_names: Their ``K`` domains.
    """

    group: str
    image: str
    size: tuple[int, int]
    confusion: np.ndarray | None = None
    histogram: np.ndarray | None = None
    scores: np.ndarray | None = None
    score_names: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What makes it this image: one file may be tested under several domains."""
        return self.group, self.image

    def to_entry(self) -> dict:
        """As a line of a journal."""
        entry: dict = {"group": self.group, "image": self.image, "size": list(self.size)}
        for name in ("confusion", "histogram"):
            if getattr(self, name) is not None:
                entry[name] = _pack(getattr(self, name))
        if self.scores is not None:
            entry["scores"] = [float(s) for s in self.scores]
            entry["score_names"] = list(self.score_names)
        return entry

    @classmethod
    def from_entry(cls, entry: dict) -> "ImageCount":
        """Back from a line of a journal."""
        return cls(
            group=entry["group"],
            image=entry["image"],
            size=tuple(entry["size"]),
            confusion=_unpack(entry.get("confusion")),
            histogram=_unpack(entry.get("histogram")),
            scores=np.float32(entry["scores"]) if "scores" in entry else None,
            score_names=tuple(entry.get("score_names", ())),
        )


def _pack(array: np.ndarray) -> dict:
    data = zlib.compress(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return {"shape": list(array.shape), "data": base64.b64encode(data).decode("ascii")}


def _unpack(packed: dict | None) -> np.ndarray | None:
    if packed is None:
        return None
    data = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(data, dtype="<i8").reshape(packed["shape"]).astype(np.int64)


@dataclass
class Counts:
    """Everything counted so far by one process.

    The confusions and histograms are sums, one a group, whatever the number of images. Beside
    them each image keeps 3 * ``N`` int32 pixel counts (228 bytes at 19 classes; 1.1 MB for 5,000
    images), its path, and its domain scores.

    Attributes:
        confusions: Sum of the confusions by group.
        histograms: Sum of the confidence histograms by group.
        pixels: For each image ``(3, N)`` int32: intersection, prediction, label; ``None`` for
            one without a label.
        sizes: Height and width of each image.
        scores: Domain scores of the images that have them.
        score_names: Their domains, for each such image.
        repeated: How many images came again and were not counted twice.
    """

    confusions: dict[str, np.ndarray] = field(default_factory=dict)
    histograms: dict[str, np.ndarray] = field(default_factory=dict)
    pixels: dict[tuple[str, str], np.ndarray | None] = field(default_factory=dict)
    sizes: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    scores: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    score_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repeated: int = 0
    recent: deque = field(default_factory=lambda: deque(maxlen=_RECENT))

    def __len__(self) -> int:
        return len(self.pixels)

    def add(self, image: ImageCount) -> bool:
        """Count an image.

        Returns:
            Whether it was new. One that was counted before is not counted again.

        Raises:
            ValueError: If the domains of its scores are not those of the group's other images.
        """
        if image.key in self.pixels:
            self.repeated += 1
            return False
        if image.scores is not None:
            self._add_scores(image)
        if image.confusion is not None:
            total = self.confusions.setdefault(image.group, np.zeros_like(image.confusion))
            total += image.confusion
        if image.histogram is not None:
            total = self.histograms.setdefault(image.group, np.zeros_like(image.histogram))
            total += image.histogram
        counted = image.confusion is not None
        self.pixels[image.key] = counts_of(image.confusion).astype(np.int32) if counted else None
        self.sizes[image.key] = image.size
        self.recent.append(image)
        return True

    def _add_scores(self, image: ImageCount) -> None:
        names = self.score_names.setdefault(image.group, image.score_names)
        if names != image.score_names:
            raise ValueError(
                f"{image.image}: its domain scores are of {list(image.score_names)}, those of "
                f"other images of {image.group} of {list(names)}; was a store of another prompt "
                "bank mixed in?"
            )
        self.scores[image.key] = image.scores

    def take_back(self, key: tuple[str, str]) -> None:
        """Forget one of the last few images.

        Raises:
            ValueError: If it is not among them; its confusion is no longer known by itself.
        """
        image = next((i for i in self.recent if i.key == key), None)
        if image is None:
            raise ValueError(
                f"{key[1]} ({key[0]}) was evaluated by two processes, and not as the padding at "
                "the end of their shares. Use sampler=dict(type='DefaultSampler', shuffle=False) "
                "for tests."
            )
        if image.confusion is not None:
            self.confusions[image.group] -= image.confusion
        if image.histogram is not None:
            self.histograms[image.group] -= image.histogram
        del self.pixels[key], self.sizes[key]
        self.scores.pop(key, None)
        self.repeated += 1

    def absorb(self, other: "Counts") -> None:
        """Add the images of another process, none of which this one has."""
        for mine, theirs in (
            (self.confusions, other.confusions),
            (self.histograms, other.histograms),
        ):
            for group, total in theirs.items():
                mine[group] = mine[group] + total if group in mine else total
        for group, names in other.score_names.items():
            if self.score_names.setdefault(group, names) != names:
                raise ValueError(f"the images of {group} have domain scores of different banks")
        self.pixels.update(other.pixels)
        self.sizes.update(other.sizes)
        self.scores.update(other.scores)
        self.repeated += other.repeated


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """Join the counts of several processes, each image once.

    A distributed sampler repeats a few images at the end so that all processes get the same
    number; the repetitions are taken back.

    Raises:
        ValueError: If two processes share an image that is not among the last of one of them.
    """
    result = Counts()
    for part in parts:
        for key in [key for key in part.pixels if key in result.pixels]:
            part.take_back(key)
        result.absorb(part)
    return result
