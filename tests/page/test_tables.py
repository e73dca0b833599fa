"""One table, its renderings."""

import csv
import io

import pytest

from mmseg_domino.page import Estimate, Interval, Marked, Missing, Table

TABLE = Table(
    ["Run", "mIoU", "95 %", "relative"],
    [
        ["a_b|c", Estimate(70.123, 0.5, 3), Interval(69.0, 71.5), 85.378],
        ["5 % & more", Missing("failed"), None, float("nan")],
    ],
    title="Two runs",
    rules_before=(1,),
)


def test_markdown():
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "**Two runs**"
    assert lines[3].startswith("|---")
    assert lines[3].endswith(":|")
    assert len({len(line) for line in lines[2:]}) == 1  # columns are padded to one width
    assert r"a_b\|c" in lines[4]
    assert "70.12 ± 0.50" in lines[4]
    assert "69.00 to 71.50" in lines[4]
    assert "failed" in lines[5]
    assert "nan" not in lines[5]


def test_csv_keeps_precision_and_splits_ranges():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert rows[0] == {
        "Run": "a_b|c", "mIoU": "70.123", "mIoU std": "0.5", "mIoU count": "3",
        "95 % low": "69.0", "95 % high": "71.5", "relative": "85.378",
    }  # fmt: skip
    assert rows[1]["mIoU"] == "failed"
    assert rows[1]["95 % low"] == rows[1]["relative"] == ""


def test_latex_escapes_names():
    latex = TABLE.latex()
    assert r"\begin{tabular}{lrrr}" in latex
    assert r"a\_b|c & $70.12 \pm 0.50$ & 69.00--71.50 & 85.38 \\" in latex
    assert r"5 \% \& more & failed & -- & -- \\" in latex
    assert latex.index(r"\midrule" + "\n5") > 0


def test_text_is_aligned():
    lines = TABLE.text().splitlines()
    assert lines[0] == "Two runs"
    assert lines[3].startswith("a_b|c")
    assert lines[3].endswith("85.38")
    assert lines[4] == lines[2]  # the rule before row 1


def test_a_short_row_is_refused():
    with pytest.raises(ValueError, match="'x' has 1 cells, the table 2"):
        Table(["a", "b"], [["x"]])


def test_marks_and_notes():
    table = Table(["Domain", "Images"], [["fog", Marked(12)], ["night", 40]], notes=["* few"])
    assert table.csv().splitlines()[1] == "fog,12"
    assert "12 *" in table.text()
    assert table.text().endswith("* few\n")
    assert table.markdown().endswith("\n\n* few\n")
    assert "% * few" in table.latex()
