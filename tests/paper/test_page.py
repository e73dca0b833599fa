import json
import re
from html.parser import HTMLParser

import pytest

from benchmarks.paper.page import write_bench_report
from benchmarks.paper.questions import CLAIMS, CONFIRMING_CLAIMS, DOMINO, PLAIN, QUESTIONS

from ..experiments.folders import write_run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Domino far above plain VPD with three seeds; subtracting below adding; the rest missing."""
    work = tmp_path_factory.mktemp("bench")
    levels = {
        DOMINO: 0.9,
        PLAIN: 0.75,
        ("injection", "subtract_both"): 0.9,
        ("injection", "add_both"): 0.97,
    }
    for (group, name), right in levels.items():
        for seed in range(3):
            write_run(
                work / "runs" / group / name / f"seed{seed}", seed, right, record=(group, name)
            )
    decisions = write_bench_report(
        work / "runs", work / "report", {"Device": "a <b>test</b>", "Command": "bench"}
    )
    return work / "report", decisions


def test_verdicts_follow_from_the_runs(report):
    folder, decisions = report
    found = {d.claim.text: d.verdict() for d in decisions}
    assert found["Domino is better than plain VPD trained on the same images."] == "holds"
    assert (
        found["Subtracting is better than adding, in norms and cross-attention."] == "does not hold"
    )
    assert found["4:1 is better than real images alone."] == "cannot be told"
    written = json.loads((folder / "verdicts.json").read_text())
    assert {c["claim"]: c["verdict"] for c in written["claims"]} == found
    assert len(written["claims"]) == len(CLAIMS)
    assert "Student's t" in written["rule"]


def test_the_page_is_whole_and_fetches_nothing(report):
    page = (report[0] / "index.html").read_text()
    sources = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    assert sources
    assert all(s.startswith(("data:", "#")) for s in sources)
    assert "a &lt;b&gt;test&lt;/b&gt;" in page
    for text in ("holds", "does not hold", "cannot be told", "missing", "85.38"):
        assert text in page
    HTMLParser().feed(page)


def test_every_question_has_tables_and_a_figure(report):
    folder = report[0]
    for question in QUESTIONS:
        for kind in ("md", "csv", "tex"):
            for name in (question.key, f"{question.key}_domains"):
                text = (folder / "tables" / f"{name}.{kind}").read_text()
                assert "±" in text or "pm" in text or "std" in text or "0 of" in text
        png = (folder / "figures" / f"{question.key}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
    rows = (folder / "tables" / "injection.md").read_text()
    asked = next(q for q in QUESTIONS if q.key == "injection")
    for label in asked.conditions:
        assert label in rows, "a condition without results is not dropped"
    assert "missing" in rows


def test_the_confirmation_decides_one_claim(report, tmp_path):
    runs = report[0].parent / "runs"
    decisions = write_bench_report(runs, tmp_path, {}, QUESTIONS[:1], CONFIRMING_CLAIMS)
    assert [d.verdict() for d in decisions] == ["holds"]
    assert {p.name for p in (tmp_path / "tables").glob("*.md")} == {
        "claims.md", "headline.md", "headline_domains.md",
    }  # fmt: skip
