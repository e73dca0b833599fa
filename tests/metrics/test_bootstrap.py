import time

import numpy as np
import pytest

from mmseg_domino.metrics import (
    bootstrap_counts,
    bootstrap_miou,
    iou_from_counts,
    mean_over_classes,
    percentile_interval,
    resample_groups,
)


def counts(images, classes=19, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 1000, (images, classes))
    prediction = rng.integers(0, 1000, (images, classes))
    both = (np.minimum(label, prediction) * rng.random((images, classes))).astype(int)
    return np.stack([both, prediction, label], axis=1)


def test_equals_drawing_images_one_by_one():
    values = counts(7)
    sums = bootstrap_counts(values, resamples=5, seed=3)
    rng = np.random.default_rng(3)
    drawn = rng.integers(7, size=(5, 7))
    for row, sample in zip(sums, drawn, strict=True):
        assert np.array_equal(row, values[sample].sum(0))
        expected = mean_over_classes(iou_from_counts(*values[sample].sum(0)))
        assert bootstrap_miou(row[None])[0] == pytest.approx(expected)


def test_blocks_do_not_change_the_draws():
    # Many images, so that the resamples are worked off in blocks of a few.
    values = np.ones((500_000, 1, 1))
    assert np.array_equal(bootstrap_counts(values, resamples=9), np.full((9, 1, 1), 500_000))


def test_interval_of_a_mean_is_that_of_theory():
    # One class, labels of equal size: the pooled IoU is close to a mean, whose standard error is
    # known.
    rng = np.random.default_rng(1)
    share = rng.normal(0.5, 0.05, 400)
    label = np.full(400, 10**6)
    values = np.stack([share * label, share * label, label], axis=1)[:, :, None]
    low, high = percentile_interval(bootstrap_miou(bootstrap_counts(values, 2000)))
    half = 1.96 * 100 * share.std() / 20
    assert low == pytest.approx(100 * share.mean() - half, abs=0.06)
    assert high == pytest.approx(100 * share.mean() + half, abs=0.06)


def test_a_group_is_resampled_alike_whatever_stands_beside_it():
    a, b = counts(6, seed=1), counts(9, seed=2)
    both, alone = resample_groups({"b": b, "a": a}), resample_groups({"a": a})
    assert np.array_equal(both["a"], alone["a"])
    assert not np.array_equal(both["a"], resample_groups({"a": a}, seed=1)["a"])


def test_a_single_image_has_no_interval():
    assert resample_groups({"a": counts(1)}) == {}


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="without images"):
        bootstrap_counts(np.zeros((0, 3, 19)))


def test_nan_resamples_are_left_out():
    assert percentile_interval(np.array([np.nan, np.nan])) is None
    assert percentile_interval(np.array([np.nan, 5.0])) == (5, 5)


def test_is_fast_enough():
    values = counts(5000)
    start = time.process_time()
    percentile_interval(bootstrap_miou(bootstrap_counts(values, 1000)))
    assert time.process_time() - start < 10
