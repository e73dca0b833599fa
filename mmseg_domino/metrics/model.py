"""What the results of every test have in common, be it of segmentation or of detection.

Shapes: ``N`` classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .groups import GroupKey, targets_by_dataset
from .intervals import FEW_IMAGES, Interval


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval over images, which is ``None`` where there is none."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Group:
    """One domain of one data set."""

    key: GroupKey
    num_images: int

    @property
    def dataset(self) -> str:
        return self.key.dataset

    @property
    def domain(self) -> str:
        return self.key.domain

    @property
    def few(self) -> bool:
        """Whether it has too few images for its interval to be relied on."""
        return self.num_images < FEW_IMAGES


@dataclass(frozen=True, kw_only=True)
class Results:
    """All figures of one test.

    Attributes:
        classes: ``N`` names.
        palette: ``N`` RGB triples, 0 to 255.
        source: Key of the source group, or ``None`` if it was not tested.
        groups: By key, the source first, then by name.
        figures: By name, see :func:`~mmseg_domino.metrics.intervals.domain_figures`.
        run: What is known of the run: ``name``, ``config``, ``checkpoint``, ``command``, ``seed``,
            ``created``, ``versions``, ``commit``; any may be missing.
        path: The file they were read from, or ``None``.
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    source: GroupKey | None
    groups: Mapping[GroupKey, Group]
    figures: Mapping[str, Figure]
    run: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def name(self) -> str:
        """The run's name, or that of its folder."""
        folder = self.path.parent.name if self.path else ""
        return str(self.run.get("name") or folder or "run")

    def named(self, name: str) -> "Results":
        """The same results under another name."""
        return replace(self, run={**self.run, "name": name})

    @property
    def source_group(self) -> Group | None:
        return self.groups.get(self.source)

    @property
    def targets(self) -> dict[GroupKey, Group]:
        """The groups but the source."""
        return {key: group for key, group in self.groups.items() if key != self.source}

    @property
    def target_datasets(self) -> dict[str, list[Group]]:
        """The target groups of each data set."""
        datasets = targets_by_dataset(self.groups, self.source)
        return {name: [self.groups[key] for key in keys] for name, keys in datasets.items()}


def as_palette(colours: Iterable[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    """RGB triples as plain whole numbers."""
    return tuple(tuple(map(int, colour)) for colour in colours)
