"""The tables of tests."""

import pytest

from mmseg_domino.metrics import ResultsError, load_results
from mmseg_domino.metrics.files import parse_results
from mmseg_domino.page import Interval, Missing
from mmseg_domino.reporting import comparison_table, difference_table, domain_table
from mmseg_domino.reporting.tables import class_table

from . import fake


def test_table_of_a_test(work):
    results = load_results(work)
    table = domain_table(results)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows)[:2] == ["acdc, mean of domains", "acdc, pooled"]
    assert list(rows)[-1] == "cityscapes/clear_day (source)"
    mean = results.figures["acdc/mean_of_domains"]
    assert rows["acdc, mean of domains"]["mIoU"] == mean.value
    assert rows["acdc, pooled"]["Relative mIoU"] == results.figures["acdc/relative_pooled"].value
    night = rows["acdc/night"]
    assert (night["Images"].value, night["Images"].mark) == (6, "*")
    assert night["Relative mIoU"] == results.relative("acdc/night").value
    for column, figure in (
        ("95 % interval", results.miou("acdc/night")),
        ("Relative mIoU, 95 % interval", results.relative("acdc/night")),
    ):
        assert night[column] == Interval(*figure.interval)
    assert "fewer than 30 images" in table.markdown()
    assert "Relative mIoU, 95 % interval low" in table.csv()
    assert table.csv().splitlines()[1].startswith("acdc, mean of domains".join('""') + ",24,")


def test_table_without_intervals_or_source(tested):
    acdc = [f for f in tested if f.group.startswith("acdc")]
    table = domain_table(parse_results(fake.results_of(acdc, intervals=False)))
    assert table.columns == ["Domain", "Images", "mIoU", "mAcc", "aAcc"]
    assert not table.notes


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
    assert table.columns == ["Run", "acdc, relative", "cityscapes/clear_day", "acdc/fog"]
    expected = 100 * run.groups["acdc/fog"].miou / run.groups["cityscapes/clear_day"].miou
    assert table.rows[0][1] == pytest.approx(expected)


def test_runs_of_other_classes_are_not_tabled_together(tested):
    other = fake.results_of(tested)
    other["classes"] = [f"c{i}" for i in range(fake.N)]
    with pytest.raises(ResultsError, match="another class set"):
        comparison_table([parse_results(fake.results_of(tested)), parse_results(other)])


def test_runs_over_other_images_are_not_compared_without_a_word(tmp_path, tested):
    """mIoU 44.55 beside 34.95, of nights 1 to 5 and 6 to 10."""
    halves = [[f for f in tested if ("00" in f.path.stem[:-1]) and int(f.path.stem[-1]) % 2 == k]
              for k in (0, 1)]  # fmt: skip
    runs = [load_results(fake.write_run(tmp_path / f"{k}", half, f"half {k}"))
            for k, half in enumerate(halves)]  # fmt: skip
    text = comparison_table(runs).text()
    assert "'half 1' and 'half 0' were tested on acdc/night with different images: 3 and 3" in text
    assert difference_table(*runs) is None
    (tmp_path / "1" / "per_image.safetensors").unlink()
    runs[1] = load_results(tmp_path / "1")
    assert "is not known: counts by image are missing" in comparison_table(runs).text()


def test_paired_differences_of_two_runs(tmp_path, tested):
    better = fake.frames(tmp_path / "data", seed=3, skill=1.4)
    runs = [
        load_results(fake.write_run(tmp_path / name, frames, name))
        for name, frames in (("a", tested), ("b", better))
    ]
    table = difference_table(*runs)
    rows = {row[0]: row for row in table.rows}
    expected = runs[1].miou("acdc/night").value - runs[0].miou("acdc/night").value
    assert rows["acdc/night"][1] == pytest.approx(expected)
    interval = rows["acdc, mean of domains"][2]
    assert 0 < interval.low < rows["acdc, mean of domains"][1] < interval.high
    assert "acdc, mean of domains, relative" in rows
    assert not comparison_table(runs).notes
