import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from mmseg_domino.metrics import (
    accuracy,
    class_accuracy,
    confusion_matrix,
    iou,
    iou_from_counts,
    mean_over_classes,
    relative_miou,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 19, (40, 50), generator=generator)
    prediction = torch.where(
        torch.rand(label.shape, generator=generator) < 0.7,
        label,
        torch.randint(0, 19, label.shape, generator=generator),
    )
    label[torch.rand(label.shape, generator=generator) < 0.1] = 255
    return prediction, label


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_equals_torchmetrics(pair, dtype):
    prediction, label = pair
    oracle = MulticlassConfusionMatrix(19, ignore_index=255)(prediction, label)
    ours = confusion_matrix(prediction.to(dtype), label.to(dtype), 19)
    assert torch.equal(ours, oracle)


def test_iou_equals_torchmetrics(pair):
    prediction, label = pair
    oracle = MulticlassJaccardIndex(19, average="none", ignore_index=255)(prediction, label)
    ours = iou(confusion_matrix(prediction, label, 19).numpy())
    assert np.allclose(ours, 100 * oracle.numpy(), atol=1e-5)
    mean = MulticlassJaccardIndex(19, average="macro", ignore_index=255)(
        prediction, label
    )  # all classes occur, so its mean is over the same ones
    assert mean_over_classes(ours) == pytest.approx(100 * float(mean), abs=1e-5)


@pytest.mark.parametrize("ignore", [255, 3, None])
def test_ignored_pixels_count_nowhere(ignore):
    label = torch.tensor([[0, 1], [3, 255 if ignore == 255 else 2]])
    counts = confusion_matrix(torch.tensor([[0, 2], [3, 1]]), label, 4, ignore)
    assert counts.sum() == (3 if ignore is not None else 4)
    assert counts[0, 0] == counts[1, 2] == 1
    assert counts[3, 3] == (0 if ignore == 3 else 1)


def test_more_than_256_classes():
    label = torch.tensor([299, 255, 0])
    counts = confusion_matrix(torch.tensor([299, 1, 270]), label, 300, ignore_index=255)
    assert counts.sum() == 2
    assert counts[299, 299] == counts[0, 270] == 1


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        ([0, 19], [0, 0], "prediction has values from 0 to 19, expected 0 to 18"),
        ([0, -1], [0, 0], "prediction has values from -1 to 0"),
        ([0, 300], [0, 0], "prediction has values from 0 to 300"),
        ([0, 0], [0, 33], r"label has values out of range: 33 \(1 pixels\)"),
        ([0, 0], [0, -1], "label has values from -1 to 0"),
        ([0, 0], [0, 70000], "label has values from 0 to 70000"),
        ([0, 0], [0], r"prediction has shape \(2,\), the label \(1,\)"),
        ([0.0, 0.0], [0, 0], "expected integers"),
    ],
)
def test_what_is_out_of_range_never_disappears(prediction, label, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor(prediction), torch.tensor(label), 19)


def test_closed_form():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert np.allclose(iou(confusion), [600 / 9, 50, np.nan], equal_nan=True)
    assert np.allclose(class_accuracy(confusion), [75, 75, np.nan], equal_nan=True)
    assert accuracy(confusion) == 75
    assert mean_over_classes(iou(confusion)) == pytest.approx((600 / 9 + 50) / 2)
    assert mean_over_classes(iou(confusion), [1]) == 50
    assert np.isnan(mean_over_classes(iou(confusion), [2]))
    counts = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    assert np.array_equal(iou_from_counts(*counts), iou(confusion), equal_nan=True)


def test_a_class_that_is_only_predicted_has_no_accuracy_but_an_iou_of_zero():
    confusion = np.array([[5, 5], [0, 0]])
    assert iou(confusion).tolist() == [50, 0]
    assert np.isnan(class_accuracy(confusion)[1])


def test_relative_miou():
    assert relative_miou(60.0, 80.0) == 75
    assert relative_miou(60.0, 0.0) is None
    assert relative_miou(60.0, None) is None
    assert relative_miou(float("nan"), 80.0) is None
