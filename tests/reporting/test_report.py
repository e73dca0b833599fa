"""The page: complete, self-contained, and right in a real browser."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mmseg_domino.metrics import ResultsError
from mmseg_domino.reporting import load_run, write_report
from mmseg_domino.reporting.report import confusion_table, score_table
from mmseg_domino.reporting.runs import with_unique_names

from . import fake

SECTIONS = [
    "headline", "by-domain", "by-class", "confusion", "calibration", "images", "scores",
    "provenance",
]  # fmt: skip


@pytest.fixture(scope="session")
def single(full_work, tmp_path_factory):
    return write_report([full_work], tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="session")
def double(full_work, other_work, tmp_path_factory):
    return write_report([full_work, other_work], tmp_path_factory.mktemp("double"))


class Collector(HTMLParser):
    """All attributes of all elements."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag, attribute):
        return [a[attribute] for t, a in self.found if t == tag and attribute in a]


def test_every_section_and_figure_is_there(single):
    page = Collector(single.read_text())
    assert page.all("section", "id") == SECTIONS
    charts = [a["id"] for t, a in page.found if t == "figure" and a.get("class") == "chart"]
    assert charts == [
        "domains", "classes", "confusion_acdc-all-domains", "confusion_acdc-fog",
        "confusion_acdc-night", "confusion_acdc-rain", "confusion_acdc-snow",
        "confusion_cityscapes-clear-day", "calibration", "domain_scores",
    ]  # fmt: skip
    assert len([a for t, a in page.found if t == "figure" and "data-over" in a]) == 15
    files = {p.stem for p in (single.parent / "figures").glob("*.png")}
    assert files == {*charts, *(f"examples_{key}" for key in (
        "cityscapes-clear-day", "acdc-fog", "acdc-night", "acdc-rain", "acdc-snow"
    ))}  # fmt: skip
    for file in (single.parent / "figures").iterdir():
        Image.open(file).verify()


def test_nothing_points_outside(single, double):
    for file in (single, double):
        html = file.read_text()
        page = Collector(html)
        for tag, attribute in (("img", "src"), ("source", "srcset"), ("link", "href")):
            assert all(value.startswith("data:") for value in page.all(tag, attribute))
        assert all(value.startswith("#") for value in page.all("a", "href"))
        assert not page.all("script", "src")
        assert "@import" not in html
        assert not re.search(r"url\((?!data:)", html)


def test_numbers_of_the_page_are_those_of_the_results(single, full_work):
    html = single.read_text()
    results = load_run(full_work).results
    figures = {name: figure.value for name, figure in results.figures.items()}
    assert f'<p class="big">{figures["acdc/mean_of_domains"]:.1f}' in html
    assert f"relative mIoU {figures['acdc/relative_mean_of_domains']:.1f} %" in html
    assert f"<dd>{figures['acdc/pooled']:.2f}</dd>" in html
    for group in results.groups.values():
        assert f">{group.miou:.2f}<" in html
    for value in ("0123456789abcdef", "torch 2.12.0", "iter_200.pth", "domino test"):
        assert value in html


def test_text_of_runs_and_configs_is_escaped(double):
    html = double.read_text()
    assert "Better <b>run</b>" not in html
    assert "Better &lt;b&gt;run&lt;/b&gt;" in html
    assert "# &lt;&amp;&gt;" in html


def test_two_runs_get_a_difference_and_a_comparison(double):
    page = Collector(double.read_text())
    assert page.all("section", "id").count("difference") == 1
    charts = [a["id"] for t, a in page.found if t == "figure" and a.get("class") == "chart"]
    assert "difference_better-b-run-b" in charts
    assert len(charts) == len(set(charts))
    assert ">missing<" in double.read_text()  # not tested on snow


def test_runs_of_one_name_are_told_apart(full_work, tmp_path):
    copy = shutil.copytree(full_work, tmp_path / "seed1")
    names = [r.name for r in with_unique_names([load_run(full_work), load_run(copy)])]
    assert names == ["Domino, subtract (run)", "Domino, subtract (seed1)"]
    same = with_unique_names([load_run(full_work)] * 2)
    assert [r.name for r in same] == ["Domino, subtract (run) #1", "Domino, subtract (run) #2"]


def test_a_run_without_a_source_or_extras(tested, tmp_path):
    acdc = [f for f in tested if f.group == "acdc/fog"]
    work = fake.write_run(tmp_path / "bare", acdc, intervals=False)
    (work / "per_image.safetensors").unlink()
    page = Collector(write_report([work], tmp_path / "out").read_text())
    assert not {"images", "calibration"} & set(page.all("section", "id"))


def test_unusable_runs_are_refused(full_work, tmp_path, tested):
    with pytest.raises(FileNotFoundError, match=r"results\.json does not exist"):
        write_report([tmp_path / "none"], tmp_path / "out")
    with pytest.raises(ValueError, match="at least one"):
        write_report([], tmp_path / "out")
    few = fake.write_run(tmp_path / "few", tested)
    fake.seal(few, json.loads((few / "results.json").read_text().replace('"wall"', '"rampart"')))
    with pytest.raises(ResultsError, match="another class set"):
        write_report([full_work, few], tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_confusions_and_scores(full_work):
    run = load_run(full_work)
    rows = confusion_table(run.results, 5).rows
    shares = [row[4] for row in rows]
    assert shares == sorted(shares, reverse=True)
    domain, truth, predicted, of_class, _ = rows[0]
    confusion = run.results.groups[domain].confusion
    i, j = fake.CLASSES.index(truth), fake.CLASSES.index(predicted)
    assert of_class == pytest.approx(100 * confusion[i, j] / confusion[i].sum())
    for row in score_table(run).rows:
        assert row[2:4] == [pytest.approx(76), 100.0]


# In a browser ----------------------------------------------------------------------------------

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens a file; afterwards no request may have been made and nothing complained of."""
    problems, contexts = [], []

    def open_file(path, width=1280, **options):
        viewport = {"width": width, "height": 800}
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        url = path.as_uri()
        page.on("console", lambda m: problems.append(m.text))
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on(
            "request",
            lambda r: problems.append(r.url) if r.url != url and r.url[:5] != "data:" else None,
        )
        page.goto(url, wait_until="load")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


def test_every_picture_is_drawn(open_page, single):
    page = open_page(single)
    for image in page.locator("figure.chart img").all():
        if image.is_visible():
            assert image.evaluate("i => i.complete && i.naturalWidth > 0")
            assert image.bounding_box()["width"] > 300
    broken = "[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_off_the_screen(open_page, double, width):
    page = open_page(double, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_gets_the_narrow_drawings(open_page, single):
    sources = []
    for width in (390, 1280):
        image = open_page(single, width).locator("#classes img")
        sources.append(image.evaluate("i => i.currentSrc"))
    html = single.read_text()
    assert sources[0] != sources[1]
    assert f'srcset="{sources[0]}"' in html


def test_the_slider_uncovers_the_input(open_page, single):
    page = open_page(single)
    example = page.locator("[data-over]").first
    example.scroll_into_view_if_needed()
    slider = example.locator("input[type=range]")

    def stage():
        picture = Image.open(io.BytesIO(example.locator(".stage").screenshot()))
        return np.asarray(picture.convert("RGB"), np.int16)[10:-10]

    slider.fill("100")
    covered = stage()
    slider.fill("0")
    uncovered = stage()
    slider.fill("50")
    half = stage()
    middle = half.shape[1] // 2
    np.testing.assert_array_equal(half[:, 10 : middle - 8], covered[:, 10 : middle - 8])
    np.testing.assert_array_equal(half[:, middle + 8 : -10], uncovered[:, middle + 8 : -10])
    assert np.abs(covered - uncovered).mean() > 5
    example.locator("button[data-name=error]").click()
    slider.fill("100")
    assert np.abs(stage() - covered).mean() > 5


def test_dragging_on_the_picture_moves_the_slider(open_page, single):
    page = open_page(single)
    example = page.locator("[data-over]").first
    stage = example.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20)
    page.mouse.up()
    assert float(example.locator("input").input_value()) == pytest.approx(80, abs=1)


def test_choosing_a_confusion_shows_only_it(open_page, single):
    page = open_page(single)
    visible = page.locator("#confusion .option:visible")
    assert visible.evaluate_all("o => o.map(e => e.dataset.key)") == ["acdc, all domains"]
    page.locator("#confusion select").select_option("acdc/night")
    assert visible.evaluate_all("o => o.map(e => e.dataset.key)") == ["acdc/night"]


def test_tables_sort_by_number(open_page, single):
    page = open_page(single)
    table = page.locator("#by-domain table").first
    for order in ("descending", "ascending"):
        table.get_by_role("button", name="mIoU", exact=True).click()
        assert table.locator("thead th").nth(2).get_attribute("aria-sort") == order
        values = [float(t) for t in table.locator("tbody td:nth-child(3)").all_inner_texts()]
        assert values == sorted(values, reverse=order == "descending")
        assert len(values) == 7


def test_without_scripts_everything_is_there(open_page, single):
    page = open_page(single, java_script_enabled=False)
    assert page.locator("#confusion .option:visible").count() == 6
    assert page.locator(".strip img:visible").count() == 15 * 5


def test_it_prints(open_page, single):
    page = open_page(single)
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator(".stage").first.is_hidden()
    assert page.locator(".strip img").first.is_visible()
    pdf = page.pdf(format="A4")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    assert 4 <= pages <= 16


def test_the_page_refuses_a_request_it_is_tricked_into(browser, single, tmp_path):
    """The browser itself keeps the page from asking a host, whatever were to get into it."""
    tricked = tmp_path / "tricked.html"
    html = single.read_text()
    tricked.write_text(html.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    page = browser.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(tricked.as_uri(), wait_until="load")
    page.close()
    assert any("Content Security Policy" in text for text in refused)


def test_pictures_in_the_page_are_the_stored_ones(single, full_work):
    """A prediction's picture in the page decodes to the class colours of the stored labels."""
    page = Collector(single.read_text())
    images = [(a["alt"], a["src"]) for t, a in page.found if t == "img" and "src" in a]
    shown = dict(images)
    for example in load_run(full_work).examples[:3]:
        uri = shown[f"prediction of {example.image}"]
        picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")
        expected = np.array(fake.PALETTE)[example.pictures()["prediction"]]
        np.testing.assert_array_equal(np.asarray(picture), expected)
