import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from mmseg_domino.evaluation.pixels import confusion_matrix, predicted_probability


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_equals_torchmetrics(pair, dtype):
    prediction, label = pair
    oracle = MulticlassConfusionMatrix(19, ignore_index=255)(prediction, label)
    ours = confusion_matrix(prediction.to(dtype), label.to(dtype), 19)
    assert torch.equal(ours, oracle)


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


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_the_probability_is_the_softmax(kind, monkeypatch):
    monkeypatch.setattr("mmseg_domino.evaluation.pixels._CACHED", 5 * 7 * 2)
    logits = 30 * torch.randn(5, 9, 7, generator=torch.Generator().manual_seed(0))
    logits = logits.to(kind)
    logits[:, 4, 4] = -60_000  # far from 0 and all alike
    prediction = logits.argmax(0)
    expected = logits.double().softmax(0).amax(0)
    ours = predicted_probability(logits, prediction.byte())
    torch.testing.assert_close(ours, expected.float())
    prediction[8, 6] = logits[:, 8, 6].argmin()
    with pytest.raises(ValueError, match="not the largest of its logits"):
        predicted_probability(logits, prediction)


def test_scores_that_are_no_logits_have_no_probability():
    scores = torch.rand(4, 3, 5)
    for values in (scores, scores.softmax(0)):
        with pytest.raises(ValueError, match=r"no logits.*mask heads"):
            predicted_probability(values, values.argmax(0))
