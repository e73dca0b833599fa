"""Which examples of a detector's test are shown, and how they are drawn."""

import numpy as np

from mmseg_domino.metrics import ImageMatches, Matches, build_detection_results
from mmseg_domino.reporting import draw_objects, select_detection_examples

ALL = (1 << 10) - 1


def image(hits, objects):
    """Detections that are right (1) or wrong (0) at every threshold."""
    count = len(hits)
    return ImageMatches(
        labels=np.zeros(count, np.int16),
        scores=np.linspace(0.9, 0.1, count),
        matched=np.array([ALL * h for h in hits], np.uint16),
        ignored=np.zeros(count, np.uint16),
        positives=np.array([objects], np.int32),
    )


def test_examples_are_ranked_by_their_own_ap50():
    images = {"right.png": ([1], 1), "none.png": ([0], 0), "half.png": ([0, 1], 1),
              "wrong.png": ([0], 1)}  # fmt: skip
    matches = {"acdc/fog": {"bbox": Matches.join([image(*given) for given in images.values()])}}
    results = build_detection_results({"acdc/fog": list(images)}, matches, ["car"], [[0, 0, 142]])
    chosen = select_detection_examples(results)
    assert [(s.image, s.kind, round(s.miou, 6)) for s in chosen] == [
        ("right.png", "best", 100.0), ("half.png", "median", 50.0), ("wrong.png", "worst", 0.0),
    ]  # fmt: skip
    assert {s.count for s in chosen} == {3}, "an image without objects is in no ranking"


def test_objects_are_drawn_where_they_are():
    plain = np.full((60, 120, 3), 90, np.uint8)
    mask = np.zeros((1, 60, 120), bool)
    mask[0, 25:35, 60:90] = True
    drawn = draw_objects(plain, np.array([[50, 20, 100, 50]]), ["car"], [(0, 200, 0)], mask)
    assert tuple(drawn[50, 75]) == (0, 200, 0), "the lower edge of the box"
    assert tuple(drawn[30, 70]) == tuple((0.55 * 90 + 0.45 * np.array([0, 200, 0])).astype(int))
    np.testing.assert_array_equal(drawn[:, :45], plain[:, :45])
    assert (plain == 90).all(), "the image itself stays"
