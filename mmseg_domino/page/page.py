"""Writing a page: one HTML file that needs no other and asks no host for anything."""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2

from ..utils import printable, write_text
from ..version import __version__
from .blocks import Section

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Page:
    """What a page says.

    Attributes:
        title: Its heading.
        sections: Its parts.
        kicker: A line above the heading.
        intro: Paragraphs below it.
    """

    title: str
    sections: Sequence[Section]
    kicker: str = ""
    intro: Sequence[str] = ()


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(page: Page) -> str:
    """The page as HTML.

    Its content security policy lets the browser refuse every request, and every script but the
    page's own, which it knows by its hash.
    """
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            sections=[section for section in page.sections if section.blocks],
            style=(_TEMPLATES / "page.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=f"sha256-{digest}",
            version=__version__,
            kind=lambda block: type(block).__name__,
        )
    )


def write_page(page: Page, path: str | os.PathLike) -> Path:
    """Write the page."""
    # names of images may hold bytes that are no UTF-8
    write_text(path, printable(render_page(page)))
    return Path(path)
