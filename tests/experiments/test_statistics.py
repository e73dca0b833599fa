from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mmseg_domino.experiments import collect_conditions, differences_table
from mmseg_domino.experiments.statistics import contrast, paired_contrasts, verdict
from mmseg_domino.metrics import Measured, ResultsError
from mmseg_domino.page import Interval, Missing

from ..experiments.folders import write_run


def over_images(values, mean=0.0):
    """A mean over images, as the jackknife sees it; of equal values it does not vary."""
    values = np.asarray(values, float)
    return Measured(mean, {"a/b": (values.sum() - values) / (len(values) - 1)})


CONSTANT = over_images(np.ones(20))


def test_the_interval_with_seeds_alone_is_students():
    points = np.array([1.0, 2.5, 0.7, 1.9])
    expected = stats.t.interval(0.95, 3, points.mean(), stats.sem(points))
    found = contrast(points, CONSTANT)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.image_error == pytest.approx(0, abs=1e-9)


def test_the_interval_with_images_alone_is_students():
    values = np.random.default_rng(0).normal(2, 0.5, 25)
    expected = stats.t.interval(0.95, 24, values.mean(), stats.sem(values))
    found = contrast(np.full(3, values.mean()), over_images(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert np.isnan(contrast(np.full(1, 2.0), over_images(values)).seed_error)


def test_the_interval_covers_what_it_says():
    """Truth 0; seeds and images both vary: about 95 % of the intervals must hold it."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(1500):
        images, seeds = rng.normal(0, 5, size=25), rng.normal(0, 1.5, size=3)
        found = contrast(images.mean() + seeds, over_images(images))
        inside += found.low <= 0 <= found.high
    # Of 1,500, a 95 % interval misses 75 with a standard deviation of 8.4. Few degrees of freedom
    # make Welch and Satterthwaite's a little cautious, never careless.
    assert inside / 1500 > 0.93


def test_verdicts_follow_from_the_interval():
    def of(points):
        return verdict(contrast(np.array(points), CONSTANT))

    assert of([5.0, 5.2, 4.9]) == "holds"
    assert of([-5.0, -5.2, -4.9]) == "does not hold"
    assert of([5.0, -5.2, 4.9]) == "cannot be told"
    assert of([5.0, 5.1]) == "cannot be told", "two seeds are too few for any verdict"


def test_shapes_that_do_not_fit_are_refused():
    for points in (np.zeros((2, 2)), np.zeros(0)):
        with pytest.raises(ValueError, match="expected differences"):
            contrast(points, CONSTANT)


def conditions(folder, **levels):
    for name, right in levels.items():
        for seed in range(3):
            write_run(folder / "s" / name / f"seed{seed}", seed, right)
    return {c.name: c for c in collect_conditions([folder / "s"])}


def test_conditions_are_paired_by_seed_and_image(tmp_path):
    """Their images vary by far more than they differ."""
    found = conditions(tmp_path, a=0.9, b=0.88)
    differences = paired_contrasts(found["a"], found["b"])
    difference = differences["acdc/mean_of_domains"]
    runs = [[run.results.figures["acdc/mean_of_domains"].value for run in found[n].present]
            for n in "ab"]  # fmt: skip
    assert difference.difference == pytest.approx(np.mean(runs[0]) - np.mean(runs[1]))
    alone = found["a"].present[0].results.measured["acdc/mean_of_domains"]
    assert difference.image_error < 0.5 * np.sqrt(alone.variance)
    assert {"acdc/fog/mIoU", "source/mIoU", "acdc/relative_pooled"} <= set(differences)


def test_the_table_of_differences(tmp_path):
    found = conditions(tmp_path, a=0.9, b=0.8)
    table = differences_table([replace(found["a"], name="reference"), found["b"]], "s")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    expected = paired_contrasts(found["b"], found["a"])["acdc/mean_of_domains"]
    assert row["acdc mean of domains, difference"] == expected.difference
    assert row["acdc mean of domains, 95 % interval"] == Interval(expected.low, expected.high)
    assert (len(table.rows), row["Seeds in common"]) == (1, 3)
    assert "minus reference" in table.text()


def test_other_images_cannot_be_paired(tmp_path):
    write_run(tmp_path / "s" / "a" / "seed0", images=6)
    write_run(tmp_path / "s" / "b" / "seed0", images=5)
    a, b = collect_conditions([tmp_path / "s"])
    with pytest.raises(ResultsError, match=r"acdc/fog with different images: 6 and 5, of which 5"):
        paired_contrasts(a, b)
    assert differences_table([a, b]).rows[0][2] == Missing("other images")
