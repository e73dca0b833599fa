"""Exported models, as a program uses them."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from mmseg_domino.apps.export import export_model
from mmseg_domino.apps.inference import init_domino_model, predict_image
from mmseg_domino.inference import ExportedModelError, Segmenter

from ..small_domino import CLASSES, PALETTE, write_small_domino
from ..tiny_clip import write_tiny_clip

FORMATS = ("onnx", "torch")


def photo(seed=0, size=(96, 130)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model that tests at 64 x 96 pixels by windows, exported in both formats."""
    root = tmp_path_factory.mktemp("exported")
    config, checkpoint = write_small_domino(root, str(write_tiny_clip(root / "clip")))
    text = config.read_text() + (
        "\nmodel['test_cfg'] = dict(mode='slide', crop_size=(48, 64), stride=(32, 43), "
        "windows_per_batch=2)\n"
    )
    config.write_text(text)
    for kind in FORMATS:
        export_model(config, checkpoint, root / kind, kind)
    return root


@pytest.fixture(scope="module", params=FORMATS)
def segmenter(request, made):
    return Segmenter(made / request.param)


@pytest.fixture(scope="module")
def reference(made):
    return init_domino_model(made / "config.py", str(made / "model.pth"))


def test_a_forced_domain_gives_the_labels_of_the_checkpoint(segmenter, reference):
    image = photo()
    maps = [segmenter(image, force_domain=name).labels for name in segmenter.domains]
    for name, labels in zip(segmenter.domains, maps, strict=True):
        expected = predict_image(reference, image, name).labels
        assert (labels == expected).mean() > 0.9995
    assert any((labels != maps[0]).any() for labels in maps[1:])


def test_what_it_says_of_itself_and_of_an_image(segmenter, tmp_path):
    assert (segmenter.classes, segmenter.palette) == (CLASSES, PALETTE)
    cv2.imwrite(str(tmp_path / "x.png"), photo()[..., ::-1])
    found = segmenter(tmp_path / "x.png", probabilities=True)
    assert found.labels.shape == (96, 130)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(axis=0))
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    assert found.domain_names == segmenter.domains
    assert sum(found.domain_scores) == pytest.approx(1, abs=1e-5)
    same = segmenter((tmp_path / "x.png").read_bytes())
    np.testing.assert_array_equal(same.labels, found.labels)


def test_an_embedding_in_place_of_the_encoder(segmenter):
    image = photo(1)
    seen = segmenter.embed(image)
    given = segmenter(image, embedding={"context": seen["context"]})
    np.testing.assert_array_equal(given.labels, segmenter(image).labels)
    assert given.domain_names == ()
    with pytest.raises(ValueError, match=r"takes context \(24,\); the embedding given has"):
        segmenter(image, embedding={"joint": seen["context"]})
    with pytest.raises(ValueError, match="NaN or infinite"):
        segmenter(image, embedding={"context": seen["context"] * np.nan})
    with pytest.raises(ValueError, match="not both"):
        segmenter(image, "fog", embedding=seen)
    with pytest.raises(ValueError, match="unknown domain 'hail'; the model's are clear_day"):
        segmenter(image, "hail")


def test_smaller_than_a_window_and_any_number_of_windows(segmenter, made):
    # Resized to 64 x 96 at most, so 20 x 30 becomes 64 x 96 and 3 x 60 becomes 5 x 96.
    for size in ((20, 30), (3, 60), (200, 40)):
        assert segmenter(photo(2, size)).labels.shape == size
    one = Segmenter(made / segmenter.manifest["format"], windows_per_batch=1, threads=1)
    logits = {"context": segmenter.embed(photo())["context"]}
    np.testing.assert_allclose(
        one.logits(photo(), logits), segmenter.logits(photo(), logits), atol=1e-4
    )


def test_both_formats_say_the_same(made):
    one, other = (Segmenter(made / kind) for kind in FORMATS)
    domain = {"context": one.embed(photo())["context"]}
    np.testing.assert_allclose(
        one.embed(photo())["scores"], other.embed(photo())["scores"], atol=1e-5
    )
    a, b = one.logits(photo(), domain), other.logits(photo(), domain)
    np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max())


_ALONE = """
import sys
from mmseg_domino.inference import Segmenter
prediction = Segmenter(sys.argv[1])(sys.argv[2])
stack = {"mmseg", "mmengine", "mmcv", "mmpretrain", "mmdet", "diffusers", "open_clip", "timm"}
print(sorted((stack | set(sys.argv[3:])) & set(sys.modules)), prediction.labels.shape)
"""


@pytest.mark.parametrize(("kind", "also"), [("onnx", "torch"), ("torch", "onnxruntime")])
def test_it_needs_nothing_of_the_training_stack(made, tmp_path, kind, also):
    cv2.imwrite(str(tmp_path / "x.png"), photo())
    arguments = [sys.executable, "-c", _ALONE, str(made / kind), str(tmp_path / "x.png"), also]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.stdout == "[] (96, 130)\n", done.stderr


def test_files_that_are_not_those_that_were_exported(made, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(made / "onnx", folder)

    def refused(said, kind=ExportedModelError):
        with pytest.raises(kind, match=said):
            Segmenter(folder)

    content = json.loads((folder / "model.json").read_text())
    whole = (folder / "network.onnx").read_bytes()
    (folder / "network.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("network.onnx is not the file that was exported: its sha256 begins with")
    (folder / "network.onnx").unlink()
    refused("network.onnx is missing")
    (folder / "network.onnx").write_bytes(whole)
    for change, said in (
        ({"schema": 99}, "has the schema 99 and this program reads 2"),
        ({"files": {"../network.onnx": ""}}, "names a file outside the folder"),
        ({"inference": None}, "lacks inference"),
    ):
        wrong = {k: v for k, v in {**content, **change}.items() if v is not None}
        (folder / "model.json").write_text(json.dumps(wrong))
        refused(said)
    (folder / "model.json").write_text("{")
    refused("model.json", ValueError)
    (folder / "model.json").unlink()
    refused("holds no exported model", FileNotFoundError)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        Segmenter(made / "onnx", threads=0)
    if not torch.cuda.is_available():
        for kind in FORMATS:
            with pytest.raises(ValueError, match=r"device|provider"):
                Segmenter(made / kind, device="cuda")
