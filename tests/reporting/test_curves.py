import numpy as np
import pytest

from mmseg_domino.metrics.files import parse_results
from mmseg_domino.reporting.curves import MAX_LINES, calibration_curves
from mmseg_domino.reporting.tables import calibration_table

from . import fake


@pytest.fixture(scope="module")
def run(tested):
    return parse_results(fake.results_of(tested, calibration=True))


def test_a_line_a_domain_goes_through_the_measured_points(run):
    figure = calibration_curves(run)
    reliability, risk = figure.axes
    lines = {line.get_label(): line for line in reliability.get_lines()[1:]}
    assert next(iter(lines)) == "clear day (cityscapes)"
    assert len(lines) == len(risk.get_lines()) == 5
    styles = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
    assert len(styles) == 5
    night = run.groups["acdc/night"].calibration
    filled = np.isfinite(night.bin_accuracy_ratio)
    np.testing.assert_array_equal(
        lines["night (acdc)"].get_ydata(), night.bin_accuracy_ratio[filled]
    )
    index = list(lines).index("night (acdc)")
    np.testing.assert_array_equal(risk.get_lines()[index].get_ydata(), night.risk_ratio)
    assert calibration_curves(run, narrow=True).get_size_inches()[0] < 5


def test_the_table(run):
    table = calibration_table(run)
    assert table.rows[0][0] == "cityscapes/clear_day"
    assert table.rows[2][1:] == [
        run.groups["acdc/night"].calibration.ece_ratio,
        run.groups["acdc/night"].calibration.aurc_ratio,
    ]  # fmt: skip


def test_nothing_where_it_was_not_measured_and_no_figure_of_too_many(tested, run):
    plain = parse_results(fake.results_of(tested))
    assert calibration_curves(plain) is None
    assert calibration_table(plain) is None
    data = fake.results_of(tested, calibration=True)
    for index in range(MAX_LINES):
        more = {**data["groups"]["acdc/fog"], "domain": f"more_{index}"}
        data["groups"][f"acdc/more_{index}"] = more
    del data["summary"]
    many = parse_results(data)
    assert calibration_curves(many) is None
    assert len(calibration_table(many).rows) == MAX_LINES + 5
