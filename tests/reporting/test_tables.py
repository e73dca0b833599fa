"""One table, four renderings."""

import csv
import io

import pytest

from mmseg_domino.reporting import (
    Estimate,
    Interval,
    Missing,
    Table,
    class_table,
    comparison_table,
    domain_table,
    load_results,
    parse_results,
)
from mmseg_domino.reporting.results import ResultsError

from . import fake

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


def test_table_of_a_test(work):
    results = load_results(work)
    rows = {row[0]: row for row in domain_table(results).rows}
    assert next(iter(rows)) == "cityscapes/clear_day (source)"
    summary = results.summary["acdc"]
    assert rows["acdc, mean of domains"][2] == summary.mean_of_domains
    assert rows["acdc, pooled"][2] == summary.pooled
    assert rows["acdc, pooled"][4] == summary.relative_pooled
    night = rows["acdc/night"]
    assert night[1] == 6
    assert night[4] == pytest.approx(results.relative(results.groups["acdc/night"]))
    assert (night[3].low, night[3].high) == results.groups["acdc/night"].interval


def test_table_without_intervals_or_source(tested):
    acdc = [f for f in tested if f.group.startswith("acdc")]
    table = domain_table(parse_results(fake.results_of(acdc, intervals=False)))
    assert "95 % interval" not in table.columns
    assert all(row[table.columns.index("Relative mIoU")] is None for row in table.rows)
    assert "| - |" in " ".join(table.markdown().split())


def test_classes_by_domain(work):
    results = load_results(work)
    table = class_table(results)
    assert len(table.rows) == fake.N + 1
    assert table.columns[1:] == list(results.groups)
    assert table.rows[-1][1:] == [g.miou for g in results.groups.values()]


def test_runs_side_by_side_show_what_is_missing(tested):
    full = parse_results(fake.results_of(tested, "full"))
    part = parse_results(
        fake.results_of([f for f in tested if f.group != "acdc/snow"], "without snow")
    )
    table = comparison_table([full, part])
    assert [row[0] for row in table.rows] == ["full", "without snow"]
    assert table.rows[1][table.columns.index("acdc/snow")] == Missing()
    assert "missing" in table.csv()
    with pytest.raises(ValueError, match="at least one"):
        comparison_table([])


def test_a_data_set_of_one_domain_shows_its_relative_miou(tested):
    some = [f for f in tested if f.group in ("cityscapes/clear_day", "acdc/fog")]
    run = parse_results(fake.results_of(some))
    table = comparison_table([run, run])
    assert table.columns == ["Run", "cityscapes/clear_day", "acdc/fog", "acdc relative"]
    expected = 100 * run.groups["acdc/fog"].miou / run.groups["cityscapes/clear_day"].miou
    assert table.rows[0][3] == pytest.approx(expected)


def test_runs_of_other_classes_are_not_tabled_together(tested):
    other = fake.results_of(tested)
    other["classes"] = [f"c{i}" for i in range(fake.N)]
    with pytest.raises(ResultsError, match="another class set"):
        comparison_table([parse_results(fake.results_of(tested)), parse_results(other)])
