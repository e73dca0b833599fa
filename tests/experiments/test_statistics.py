import numpy as np
import pytest
from scipy import stats

from mmseg_domino.experiments.statistics import (
    average_figures,
    check_same_images,
    contrast,
    resampled_figures,
    run_figures,
    verdict,
)
from mmseg_domino.reporting import ResultsError, load_per_image, load_results

from ..experiments.folders import GROUPS, write_run


def test_the_averages_are_those_of_the_results(tmp_path):
    """Against another implementation: what the evaluation wrote from confusions."""
    write_run(tmp_path)
    results, images = load_results(tmp_path), load_per_image(tmp_path)
    groups = np.array(images.groups)
    counts = np.stack([images.intersection, images.prediction, images.label], axis=1)
    sums = {g: counts[groups == g].sum(axis=0, keepdims=True) for g in GROUPS}
    expected = run_figures(results)
    found = average_figures(sums, results.source)
    assert set(found) == {k for k in expected if k not in GROUPS}
    for key, value in found.items():
        assert value == pytest.approx(expected[key])
    assert not any("relative" in key for key in average_figures(sums, None))


def test_resamples_of_two_runs_are_paired(tmp_path):
    """Two runs that differ by a constant differ by it in every resample; unpaired, they would not.

    Their images vary by far more than that.
    """
    for name in ("a", "b"):
        write_run(tmp_path / name, seed=0, right=0.9 if name == "a" else 0.88)
    a, b = (resampled_figures(load_per_image(tmp_path / n), GROUPS[0], 200) for n in "ab")
    difference = a["acdc/mean_of_domains"] - b["acdc/mean_of_domains"]
    assert difference.std() < 0.2 * a["acdc/mean_of_domains"].std()
    assert difference.mean() > 0


def test_a_single_image_gives_no_resamples(tmp_path):
    write_run(tmp_path, images=1)
    assert resampled_figures(load_per_image(tmp_path), GROUPS[0], 20) == {}


def test_the_interval_with_seeds_alone_is_students(tmp_path):
    points = np.array([1.0, 2.5, 0.7, 1.9])
    expected = stats.t.interval(0.95, 3, points.mean(), stats.sem(points))
    found = contrast(points, np.repeat(points[:, None], 50, axis=1))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.image_error == pytest.approx(0, abs=1e-9)


def test_the_interval_with_images_alone_is_normal():
    draws = np.random.default_rng(0).normal(2, 0.5, size=(1, 4000)).repeat(3, axis=0)
    found = contrast(np.full(3, 2.0), draws)
    reach = stats.norm.ppf(0.975) * draws[0].std(ddof=1)
    assert (found.low, found.high) == pytest.approx((2 - reach, 2 + reach), rel=1e-5)
    assert np.isnan(contrast(np.full(1, 2.0), draws[:1]).seed_error)


def test_the_interval_covers_what_it_says():
    """Truth 0; seeds and images both vary: about 95 % of the intervals must hold it."""
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(1500):
        images, seeds = rng.normal(0, 1), rng.normal(0, 1.5, size=3)
        points = images + seeds
        draws = points[:, None] + rng.normal(0, 1, size=100)[None]
        found = contrast(points, draws)
        inside += found.low <= 0 <= found.high
    # Of 1,500, a 95 % interval misses 75 with a standard deviation of 8.4. Few degrees of freedom
    # make Welch and Satterthwaite's a little cautious, never careless.
    assert inside / 1500 > 0.93


def test_verdicts_follow_from_the_interval():
    def of(points):
        return verdict(contrast(np.array(points), np.array(points)[:, None].repeat(9, axis=1)))

    assert of([5.0, 5.2, 4.9]) == "holds"
    assert of([-5.0, -5.2, -4.9]) == "does not hold"
    assert of([5.0, -5.2, 4.9]) == "cannot be told"
    assert of([5.0, 5.1]) == "cannot be told", "two seeds are too few for any verdict"


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected differences"):
        contrast(np.zeros(2), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="expected differences"):
        contrast(np.zeros(0), np.zeros((0, 5)))


def test_other_images_cannot_be_paired(tmp_path):
    write_run(tmp_path / "a", images=6)
    write_run(tmp_path / "b", images=5)
    a, b = (load_per_image(tmp_path / name) for name in "ab")
    check_same_images([a, a])
    with pytest.raises(ResultsError, match=r"different images of acdc/fog: 6 and 5, of which 5"):
        check_same_images([a, b])
