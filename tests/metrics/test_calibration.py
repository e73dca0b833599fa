import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from mmseg_domino.evaluation.pixels import confidence_histogram
from mmseg_domino.metrics.calibration import calibration_from_histogram


def pixels(n=4000, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probability = (2 * torch.randn(n, classes, generator=generator)).softmax(1)
    label = torch.multinomial(probability**0.6, 1, generator=generator)[:, 0]
    return probability, label


def test_calibration_error_equals_torchmetrics():
    probability, label = pixels()
    confidence, prediction = probability.max(1)
    histogram = confidence_histogram(confidence, prediction, label)
    oracle = MulticlassCalibrationError(5, n_bins=15, norm="l1")(probability, label)
    ours = calibration_from_histogram(histogram.numpy())
    assert ours.ece_ratio == pytest.approx(float(oracle), abs=1e-5)
    assert ours.bin_count.sum() == len(label)


def test_ignored_pixels_do_not_count():
    probability, label = pixels()
    confidence, prediction = probability.max(1)
    keep = torch.rand(len(label), generator=torch.Generator().manual_seed(1)) < 0.5
    some = confidence_histogram(confidence[keep], prediction[keep], label[keep])
    marked = torch.where(keep, label, 255)
    assert torch.equal(confidence_histogram(confidence, prediction, marked), some)


def test_risk_coverage_equals_sorting_all_pixels():
    probability, label = pixels()
    confidence, prediction = probability.max(1)
    order = confidence.argsort(descending=True)
    wrong = (prediction != label)[order].double()
    risk = wrong.cumsum(0) / torch.arange(1, len(wrong) + 1)
    ours = calibration_from_histogram(confidence_histogram(confidence, prediction, label).numpy())
    assert ours.aurc_ratio == pytest.approx(float(risk.mean()), abs=2e-3)
    assert ours.coverage_ratio[-1] == 1
    assert ours.risk_ratio[-1] == pytest.approx(float(wrong.mean()))
    half = len(wrong) // 2
    assert np.interp(0.5, ours.coverage_ratio, ours.risk_ratio) == pytest.approx(
        float(risk[half]), abs=5e-3
    )


def test_parts_add_up_exactly():
    probability, label = pixels()
    confidence, prediction = probability.max(1)
    whole = confidence_histogram(confidence, prediction, label)
    parts = [
        confidence_histogram(confidence[i::3], prediction[i::3], label[i::3]) for i in range(3)
    ]
    assert torch.equal(sum(parts), whole)


def test_perfect_confidence():
    label = torch.tensor([0, 1, 1])
    ours = calibration_from_histogram(confidence_histogram(torch.ones(3), label, label).numpy())
    assert (ours.ece_ratio, ours.aurc_ratio) == (0, 0)
    assert ours.bin_count[-1] == 3


def test_without_pixels_there_is_nothing_to_say():
    ignored = torch.full((3,), 255)
    histogram = confidence_histogram(torch.ones(3), ignored, ignored)
    assert calibration_from_histogram(histogram.numpy()) is None


def test_wrong_input_is_refused():
    label = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        confidence_histogram(torch.tensor([0.5, float("nan")]), label, label)
    with pytest.raises(ValueError, match="bins must divide 1500, got 7"):
        calibration_from_histogram(np.ones((3, 1500)), bins=7)
