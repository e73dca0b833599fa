"""What a page is made of.

All text is escaped when the page is written. Pictures are ``data:`` URIs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .tables import Table


@dataclass(frozen=True)
class Text:
    """A paragraph; ``kind='note'`` sets it small, ``'warning'`` apart."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section; ``level`` 3 or 4; ``kind`` ``'good'`` or ``'bad'`` colours it."""

    text: str
    level: int = 3
    kind: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        key: Its id in the page.
        caption: Below it.
        wide: URI.
        narrow: URI of the drawing for phones; ``None`` to use the wide one.
    """

    key: str
    caption: str
    wide: str
    narrow: str | None = None


@dataclass(frozen=True)
class Card:
    """A figure set large.

    Attributes:
        value: The figure; empty for none.
        what: Lines below it: what it is, its interval.
        title: Above it.
        unit: Behind it.
        rows: Label and value of further figures.
    """

    value: str
    what: Sequence[str] = ()
    title: str = ""
    unit: str = ""
    rows: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Cards:
    """Cards beside one another; ``small`` for many with a word each."""

    cards: Sequence[Card]
    small: bool = False


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away."""

    title: str
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class Columns:
    """Groups of blocks beside one another where there is room."""

    columns: Sequence[Sequence["Block"]]


@dataclass(frozen=True)
class Choice:
    """One of several groups of blocks; without scripts all are shown."""

    label: str
    options: Mapping[str, Sequence["Block"]]


@dataclass(frozen=True)
class Pairs:
    """Labels and their values."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text as it is."""

    text: str


@dataclass(frozen=True)
class Legend:
    """Names and their CSS colours; ``ramp`` adds what the scale of figures from 0 to 1 means."""

    entries: Sequence[tuple[str, str]]
    ramp: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with what is said of it.

    Attributes:
        uri: ``None`` if it could not be read.
        title: First line.
        lines: Further lines.
        warning: A line set apart, above the others.
        more: URI and description of smaller pictures below it.
        bar: Shares, as name, ratio and CSS colour.
    """

    uri: str | None
    title: str
    lines: Sequence[str] = ()
    warning: str = ""
    more: Sequence[tuple[str, str]] = ()
    bar: Sequence[tuple[str, float, str]] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid; ``small`` for thumbnails."""

    pictures: Sequence[Picture]
    small: bool = False


@dataclass(frozen=True)
class Comparison:
    """Pictures of one image, any of which can be laid over the first.

    Attributes:
        title: Set strong.
        subtitle: Behind it.
        path: The image.
        pictures: URIs by name; the first is the input.
        over: Name of the one that is laid over at first.
        size: Width and height, for the aspect ratio.
    """

    title: str
    subtitle: str
    path: str
    pictures: Mapping[str, str]
    over: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Comparisons:
    """Comparisons in a grid."""

    items: Sequence[Comparison]


@dataclass(frozen=True)
class Point:
    """A dot of a map: position in [0, 1], CSS colour, what it is, what is said, its picture."""

    x: float
    y: float
    colour: str
    key: str
    text: str
    picture: str | None = None


@dataclass(frozen=True)
class PointMap:
    """Dots in the plane that tell more under the pointer.

    Attributes:
        points: The dots; the first ``pictured`` of them show their picture.
        label: What it is a map of.
    """

    points: Sequence[Point]
    label: str
    pictured: int = 40


Block = (
    Text | Heading | Table | Chart | Cards | Details | Columns | Choice | Pairs | Code | Legend
    | Gallery | Comparisons | PointMap
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading and a place in its navigation.

    Attributes:
        key: Its id.
        title: Its heading; empty for none.
        blocks: What it holds; a section of nothing is left out.
        nav: Its name in the navigation; the title by default.
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    nav: str = ""
