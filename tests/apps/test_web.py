"""The local page: what it computes, and the page itself where gradio is installed."""

import sys

import cv2
import numpy as np
import pytest

from mmseg_domino.apps.inference import init_domino_model, predict_image
from mmseg_domino.apps.web import OWN_DOMAIN, build_page, compare_domains

from ..small_domino import write_small_domino
from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    config, checkpoint = write_small_domino(folder, str(write_tiny_clip(folder / "clip")))
    return init_domino_model(config, str(checkpoint))


@pytest.fixture(scope="module")
def photo():
    coarse = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (240, 160), interpolation=cv2.INTER_CUBIC)


def test_two_domains_side_by_side(model, photo):
    pictures, scores, sentence = compare_domains(model, photo, (OWN_DOMAIN, "night"), 0.0)
    own, night = predict_image(model, photo), predict_image(model, photo, "night")
    assert scores == dict(zip(own.domain_names, own.domain_scores, strict=True))
    changed = 100 * (own.labels != night.labels).mean()
    assert changed > 1
    assert sentence == f"{changed:.2f} % of the pixels differ."
    for picture in pictures:  # opacity 0: the photo itself, between the strips
        assert any((picture[i : i + 160] == photo).all() for i in range(len(picture) - 159))
    same, _, sentence = compare_domains(model, photo, ("night", "night"), 1.0)
    np.testing.assert_array_equal(*same)
    assert sentence == "0.00 % of the pixels differ."


def test_without_gradio_it_says_how_to_install_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install 'mmseg_domino\[web\]'"):
        build_page(model)


def test_the_package_does_not_import_gradio():
    import subprocess

    code = "import mmseg_domino.apps.web, sys; assert 'gradio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_predicts_what_the_tools_predict(model, photo):
    gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    page = build_page(model)
    kinds = [type(block).__name__ for block in page.blocks.values()]
    assert kinds.count("Dropdown") == 2
    assert kinds.count("Image") == 3
    predict = next(f.fn for f in page.fns.values())
    left, right, scores, sentence = predict(photo, OWN_DOMAIN, "fog", 0.5)
    expected, _, text = compare_domains(model, photo, (OWN_DOMAIN, "fog"), 0.5)
    np.testing.assert_array_equal(left, expected[0])
    np.testing.assert_array_equal(right, expected[1])
    assert (sum(scores.values()), sentence) == (pytest.approx(1), text)
    with pytest.raises(gradio.Error, match="Choose an image"):
        predict(None, OWN_DOMAIN, "fog", 0.5)
    with pytest.raises(gradio.Error, match="unknown domain"):
        predict(photo, OWN_DOMAIN, "hail", 0.5)
