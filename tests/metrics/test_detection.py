"""Figures of detectors from matches, by hand; see tests/detection for pycocotools'."""

import numpy as np
import pytest

from mmseg_domino.metrics import (
    ImageMatches,
    Matches,
    average_precision,
    build_detection_results,
    detection_figures,
)
from mmseg_domino.metrics.average_precision import mean_precisions, resample
from mmseg_domino.metrics.detection import bootstrap_intervals, measure_detection

ALL = (1 << 10) - 1


def image(hits, positives, scores=None, label=0):
    """Detections of one class that are right (1) or wrong (0) at every threshold."""
    count = len(hits)
    return ImageMatches(
        labels=np.full(count, label, np.int16),
        scores=np.linspace(0.9, 0.1, count) if scores is None else np.array(scores, float),
        matched=np.array([ALL * h for h in hits], np.uint16),
        ignored=np.zeros(count, np.uint16),
        positives=np.array(positives, np.int32),
    )


@pytest.mark.parametrize(
    ("hits", "objects", "expected"),
    [
        ([1], 1, 100.0),
        ([], 1, 0.0),
        ([0], 1, 0.0),
        ([0, 1], 1, 50.0),  # precision 1/2 at every recall
        ([1, 0], 2, 100 * 51 / 101),  # recalls 0 to 0.5 of 101 are reached
    ],
)
def test_average_precision_by_hand(hits, objects, expected):
    ap = average_precision(Matches.join([image(hits, [objects, 0])]))
    np.testing.assert_allclose(ap[0], expected)
    assert np.isnan(ap[1]).all(), "a class without objects is in no mean"
    assert mean_precisions(ap)["AP"] == pytest.approx(expected)


def test_weights_are_repetitions():
    images = [image([1, 0], [1]), image([0, 1], [2]), image([0], [0])]
    weights = np.array([[2, 1, 0], [0, 3, 2], [1, 1, 1]])
    found = average_precision(Matches.join(images), weights)
    for row, one in zip(weights, found, strict=True):
        repeated = [im for im, n in zip(images, row, strict=True) for _ in range(n)]
        np.testing.assert_allclose(one, average_precision(Matches.join(repeated)))


def groups():
    rng = np.random.default_rng(0)
    return {
        key: {"bbox": Matches.join([image(rng.integers(0, 2, 3), [2]) for _ in range(8)])}
        for key in ("city/day", "acdc/fog", "acdc/night")
    }


def test_figures_intervals_and_jackknife_agree():
    matches = groups()
    images = {key: [f"{i}.png" for i in range(8)] for key in matches}
    results = build_detection_results(images, matches, ["car"], [[0, 0, 0]], "city/day")
    f = {name: figure.value for name, figure in results.figures.items()}
    mean = (f["acdc/fog/bbox_AP"] + f["acdc/night/bbox_AP"]) / 2
    assert f["acdc/mean_of_domains_bbox_AP"] == f["targets/mean_of_domains_bbox_AP"] == mean
    assert f["acdc/relative_mean_of_domains_bbox_AP"] == pytest.approx(
        100 * mean / f["source/bbox_AP"]
    )
    measured = measure_detection(matches, "city/day")
    low, high = results.figures["acdc/mean_of_domains_bbox_AP"].interval
    assert low < mean < high
    spread = measured["acdc/mean_of_domains_bbox_AP"].variance ** 0.5
    assert 0.4 < (high - low) / (2 * 1.96 * spread) < 2.5, "two ways to one width"
    without = average_precision(matches["acdc/fog"]["bbox"], 1 - np.eye(8)[:1])
    one = measured["acdc/fog/bbox_AP"].left_out["acdc/fog"][0]
    assert one == pytest.approx(mean_precisions(without)["AP"][0])
    np.testing.assert_array_equal(resample("a/b", 5, 3), resample("a/b", 5, 3))


def test_a_single_image_has_no_interval_and_nothing_is_relative_to_nothing():
    one = {"city/day": {"bbox": Matches.join([image([0], [1])])},
           "acdc/fog": {"bbox": Matches.join([image([1], [1])])}}  # fmt: skip
    assert bootstrap_intervals(one, "city/day") == {}
    figures = detection_figures({"city/day": {"bbox_AP": 0.0}, "acdc/fog": {"bbox_AP": 5.0}},
                                "city/day")  # fmt: skip
    assert np.isnan(figures["acdc/fog/relative_bbox_AP"])
    results = build_detection_results(
        {k: ["a.png"] for k in one}, one, ["car"], [[0, 0, 0]], "city/day"
    )
    assert "acdc/fog/relative_bbox_AP" not in results.figures
    assert results.figures["acdc/fog/bbox_AP"].value == pytest.approx(100)
