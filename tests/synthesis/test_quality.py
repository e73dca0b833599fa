import numpy as np
import pytest
import torch
from torchmetrics.functional.segmentation import mean_iou

from mmseg_domino.domain import DomainEncoder
from mmseg_domino.synthesis.quality import (
    GateThresholds,
    QualityGate,
    blank_problem,
    duplicates,
    image_miou,
    perceptual_hash,
)
from tests.tiny_clip import write_tiny_clip

from .scenes import scene


def test_blank_images_are_found_and_dark_ones_pass():
    image = np.zeros((50, 50, 3), np.uint8)
    assert "black" in blank_problem(image)
    assert "one colour" in blank_problem(image + 127)
    night = image + 3
    night[20:23, 20:30] = 180  # a lamp
    assert blank_problem(night) is None
    assert blank_problem(scene(0)[0]) is None


def test_agreement_is_the_mean_iou_of_torchmetrics():
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 5, (2, 40, 30)).astype(np.uint8)
    expected = mean_iou(
        torch.as_tensor(prediction)[None].long(),
        torch.as_tensor(label)[None].long(),
        num_classes=5,
        input_format="index",
    )
    assert image_miou(prediction, label, 5) == pytest.approx(100 * float(expected), abs=1e-4)


def test_agreement_leaves_out_what_is_not_labelled():
    label = np.array([[0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 2]], np.uint8)
    assert image_miou(prediction, label, 3) == pytest.approx(50.0)
    assert np.isnan(image_miou(prediction, np.full_like(label, 255), 3))
    with pytest.raises(ValueError, match="differ in size"):
        image_miou(prediction[:, :2], label, 3)


def test_near_duplicates_are_removed_once_and_never_in_chains():
    base = 0xF0F0_F0F0_F0F0_F0F0
    near, nearer = base ^ 0b111, base ^ 0b111111  # 3 and 6 bits away, 3 from each other
    far = base ^ 0xFFFF
    hashes = [f"{value:016x}" for value in (base, near, far, nearer, base)]
    assert duplicates(hashes, 3) == [None, 0, None, None, 0]
    assert duplicates(hashes, 6) == [None, 0, None, 0, 0]
    assert duplicates([], 3) == []


def test_the_hash_survives_what_does_not_change_the_picture():
    image, _ = scene(0)
    brighter = np.clip(image.astype(int) + 6, 0, 255).astype(np.uint8)
    other, _ = scene(3)
    hashes = [perceptual_hash(i) for i in (image, brighter, other)]
    assert duplicates(hashes, 6) == [None, 0, None]


def test_the_gate_measures_and_judges(tmp_path):
    image, label = scene(0)
    encoder = DomainEncoder(str(write_tiny_clip(tmp_path)), bank="acdc")
    gate = QualityGate(GateThresholds(min_agreement=50), lambda _: label, encoder)
    scores = gate.measure(image, np.where(label == 255, 255, label), 19, "fog", "a photo")
    pixels = encoder.prepare(image)[None]
    probabilities, embedding = encoder(pixels)
    assert scores["agreement"] == 100
    assert scores["domain_score"] == pytest.approx(float(probabilities[0, 1]))
    text = encoder.encode_text(["a photo"])[0][0]
    assert scores["similarity"] == pytest.approx(float((embedding[0] * text).sum()))
    assert len(scores["phash"]) == 16
    assert gate.judge(scores) is None
    assert gate.judge({"agreement": 49.9}) == "agreement with the label is 49.9 %, below 50 %"
    assert "nan" in gate.judge({"agreement": float("nan")})
    assert gate.describe()["encoder"]["bank"] == "acdc"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("min_domain_score", "CLIP's score of the domain is 0.1, below 0.5"),
        ("min_similarity", "CLIP's image-text similarity is 0.1, below 0.5"),
    ],
)
def test_each_threshold_has_its_reason(name, words, tmp_path):
    encoder = DomainEncoder(str(write_tiny_clip(tmp_path)), bank="acdc")
    gate = QualityGate(GateThresholds(**{name: 0.5}), encoder=encoder)
    assert gate.judge({name.removeprefix("min_"): 0.1}) == words
    assert gate.judge({name.removeprefix("min_"): 0.5}) is None


def test_a_threshold_without_its_measure_is_refused():
    with pytest.raises(ValueError, match="segmentation model"):
        QualityGate(GateThresholds(min_agreement=50))
    with pytest.raises(ValueError, match="needs CLIP"):
        QualityGate(GateThresholds(min_similarity=0.2))
    with pytest.raises(ValueError, match="min_domain_score must be 0 to 1"):
        GateThresholds(min_domain_score=20)
