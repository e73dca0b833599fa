import numpy as np
import pytest
from torchmetrics.classification import MulticlassJaccardIndex

from mmseg_domino.evaluation.pixels import confusion_matrix
from mmseg_domino.metrics import accuracy, iou, mean_over_classes
from mmseg_domino.metrics.confusion import (
    class_accuracy,
    counts_of,
    iou_from_counts,
    miou_from_counts,
    relative_miou,
)


def test_iou_equals_torchmetrics(pair):
    prediction, label = pair
    oracle = MulticlassJaccardIndex(19, average="none", ignore_index=255)(prediction, label)
    ours = iou(confusion_matrix(prediction, label, 19).numpy())
    assert np.allclose(ours, 100 * oracle.numpy(), atol=1e-5)
    mean = MulticlassJaccardIndex(19, average="macro", ignore_index=255)(
        prediction, label
    )  # all classes occur, so its mean is over the same ones
    assert mean_over_classes(ours) == pytest.approx(100 * float(mean), abs=1e-5)


def test_closed_form():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert np.allclose(iou(confusion), [600 / 9, 50, np.nan], equal_nan=True)
    assert np.allclose(class_accuracy(confusion), [75, 75, np.nan], equal_nan=True)
    assert accuracy(confusion) == 75
    assert mean_over_classes(iou(confusion)) == pytest.approx((600 / 9 + 50) / 2)
    assert mean_over_classes(iou(confusion), [1]) == 50
    assert np.isnan(mean_over_classes(iou(confusion), [2]))
    counts = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    assert np.array_equal(counts_of(confusion), counts)
    assert np.array_equal(iou_from_counts(*counts), iou(confusion), equal_nan=True)
    assert miou_from_counts(np.stack(counts)) == pytest.approx((600 / 9 + 50) / 2)


def test_a_class_that_is_only_predicted_has_no_accuracy_but_an_iou_of_zero():
    confusion = np.array([[5, 5], [0, 0]])
    assert iou(confusion).tolist() == [50, 0]
    assert np.isnan(class_accuracy(confusion)[1])


def test_relative_miou():
    assert relative_miou(60.0, 80.0) == 75
    assert relative_miou(np.array([60.0, 20.0]), np.array([80.0, 80.0])).tolist() == [75, 25]
    assert np.isnan(relative_miou(60.0, 0.0))
    assert np.isnan(relative_miou(float("nan"), 80.0))
