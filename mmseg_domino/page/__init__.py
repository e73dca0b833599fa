"""One page for all: sections of text, tables, figures and pictures in a single HTML file.

Whoever shows something, be it of a test, a benchmark or a set of generated images, puts blocks into
sections and writes a :class:`Page`. Tables are written as text, Markdown, CSV and LaTeX, too.
"""

from .blocks import (
    Block,
    Card,
    Cards,
    Choice,
    Code,
    Columns,
    Comparison,
    Comparisons,
    Details,
    Gallery,
    Heading,
    Legend,
    Pairs,
    Picture,
    Point,
    PointMap,
    Section,
    Text,
)
from .page import Page, write_page
from .pictures import Drawings, data_uri, figure_pixels, new_figure
from .tables import Cell, Estimate, Interval, Marked, Missing, Table

__all__ = [
    "Block",
    "Card",
    "Cards",
    "Cell",
    "Choice",
    "Code",
    "Columns",
    "Comparison",
    "Comparisons",
    "Details",
    "Drawings",
    "Estimate",
    "Gallery",
    "Heading",
    "Interval",
    "Legend",
    "Marked",
    "Missing",
    "Page",
    "Pairs",
    "Picture",
    "Point",
    "PointMap",
    "Section",
    "Table",
    "Text",
    "data_uri",
    "figure_pixels",
    "new_figure",
    "write_page",
]
