"""The page: one file, nothing fetched, no text taken for markup, nothing empty."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest
from PIL import Image

from mmseg_domino.page import (
    Card,
    Cards,
    Choice,
    Code,
    Columns,
    Comparison,
    Comparisons,
    Details,
    Drawings,
    Gallery,
    Heading,
    Legend,
    Marked,
    Page,
    Pairs,
    Picture,
    Point,
    PointMap,
    Section,
    Table,
    Text,
    data_uri,
    new_figure,
    write_page,
)
from mmseg_domino.page.page import _environment, render_page

EVIL = '<b>"bold"</b> & <script>alert(1)</script>'
URI = data_uri(np.zeros((4, 6, 3), np.uint8))


def everything(text):
    """A page with every kind of block, each with the given text."""
    return Page(
        text,
        [
            Section("a", text, [
                Text(text, "note"), Heading(text), Table([text], [[text], [Marked(3)]],
                                                         notes=[text]),
                Cards([Card(text, [text], text, text, [(text, text)])]),
                Details(text, [Code(text)]), Columns([[Text(text)], [Text(text)]]),
                Choice(text, {text: [Text(text)]}), Pairs([(text, text)]),
                Legend([(text, "red")], ramp=text),
                Gallery([Picture(URI, text, [text], text, [(URI, text)], [(text, 0.5, "red")]),
                         Picture(None, text)]),
                Comparisons([Comparison(text, text, text, {"input": URI, "error": URI}, "error",
                                        (6, 4))]),
                PointMap([Point(0.5, 0.5, "red", text, text, URI)], text),
            ]),
        ],
        text,
        [text],
    )  # fmt: skip


class Reader(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br", "source", "rect", "image"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "image"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_no_text_becomes_markup_and_every_tag_is_closed():
    page = Reader(render_page(everything(EVIL)))
    assert page.open == []
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    plain = Reader(render_page(everything("plain")))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert "".join(page.text).count(EVIL) == "".join(plain.text).count("plain") > 25


def test_only_the_pages_own_script_may_run_and_nothing_is_fetched():
    html = render_page(everything(EVIL))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for t, a in Reader(html).tags if "http-equiv" in a)
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    for tag, attributes in Reader(html).tags:
        for name in ("src", "href", "srcset", "data-picture"):
            value = attributes.get(name, "data:")
            assert value.startswith(("data:", "#")), (tag, name)


def test_a_name_that_is_no_utf_8_is_escaped(tmp_path):
    path = write_page(everything("caf\udce9.png \u00fc"), tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert "caf\\xe9.png \u00fc" in text
    assert "\udce9" not in text


def test_a_section_of_nothing_is_left_out():
    page = Reader(
        render_page(Page("t", [Section("empty", "Empty"), Section("b", "B", [Text("x")])]))
    )
    assert [a["id"] for t, a in page.tags if t == "section"] == ["b"]
    assert [a["href"] for t, a in page.tags if t == "a"] == ["#b"]


def test_a_name_that_a_template_does_not_know_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        _environment().from_string("{{ nothing }}").render()


def test_drawings_are_in_the_page_and_in_the_folder(tmp_path):
    drawings = Drawings(tmp_path / "figures")
    figures = [new_figure(3, 2), new_figure(2, 2)]
    for figure in figures:
        figure.add_subplot().plot([0, 1], [0, 1])
    chart = drawings.chart("line", "a line", *figures)
    assert chart.wide.startswith("data:image/svg+xml;base64,")
    assert chart.narrow != chart.wide
    assert [f.name for f in drawings.files] == ["line.png"]
    with Image.open(tmp_path / "figures" / "line.png") as image:
        assert image.size == (450, 300)
    path = write_page(Page("t", [Section("s", "S", [chart])]), tmp_path / "page.html")
    assert f'srcset="{chart.narrow}"' in path.read_text()


def test_pictures_are_what_they_were():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    head, body = data_uri(pixels, "png").split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    with Image.open(io.BytesIO(base64.b64decode(data_uri(pixels, side=20).split(",")[1]))) as small:
        assert small.size == (20, 15)
