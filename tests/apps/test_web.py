"""The local page: what it computes, whom it answers, and the page where gradio is installed."""

import ast
import asyncio
import inspect
import sys
import time

import cv2
import numpy as np
import pytest

from mmseg_domino.apps import web
from mmseg_domino.apps.inference import init_domino_model, predict_image
from mmseg_domino.apps.web import (
    MAX_BYTES,
    OWN_DOMAIN,
    SHOWN_PIXELS,
    LocalRequests,
    build_app,
    build_page,
    compare_domains,
    read_upload,
)

from ..small_domino import write_small_domino
from ..tiny_clip import write_tiny_clip

PORT = 7999


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    config, checkpoint = write_small_domino(folder, str(write_tiny_clip(folder / "clip")))
    return init_domino_model(config, str(checkpoint))


@pytest.fixture(scope="module")
def photo():
    coarse = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (240, 160), interpolation=cv2.INTER_CUBIC)


def test_two_domains_side_by_side(model, photo, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments[2:])
        return predict_image(*arguments)

    monkeypatch.setattr("mmseg_domino.apps.web.predict_image", counted)
    pictures, scores, sentence = compare_domains(model, photo, (OWN_DOMAIN, "night"), 0.0)
    own, night = predict_image(model, photo), predict_image(model, photo, "night")
    assert scores == dict(zip(own.domain_names, own.domain_scores, strict=True))
    changed = 100 * (own.labels != night.labels).mean()
    assert changed > 1
    assert sentence == f"{changed:.2f} % of the pixels differ."
    for picture in pictures:  # opacity 0: the photo itself, between the strips
        assert any((picture[i : i + 160] == photo).all() for i in range(len(picture) - 159))
    assert calls == [(), ("night",)]  # nothing is predicted twice
    same, _, sentence = compare_domains(model, photo, ("night", "night"), 1.0)
    np.testing.assert_array_equal(*same)
    assert sentence == "0.00 % of the pixels differ."
    assert calls[2:] == [(), ("night",)]


def test_uploads_are_measured_before_they_are_decoded(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    image, scale = read_upload(tmp_path / "photo.png")
    np.testing.assert_array_equal(image, photo)
    assert scale == 1
    cv2.imwrite(str(tmp_path / "large.png"), np.full((3000, 3000, 3), 90, np.uint8))
    image, scale = read_upload(tmp_path / "large.png")
    assert 0.98 * SHOWN_PIXELS < image.shape[0] * image.shape[1] <= 1.01 * SHOWN_PIXELS
    assert image.shape[0] == round(3000 * scale)
    cv2.imwrite(str(tmp_path / "bomb.png"), np.zeros((9000, 9000), np.uint8))
    start = time.perf_counter()
    with pytest.raises(ValueError, match="9000 x 9000 pixels; the page takes up to 40 million"):
        read_upload(tmp_path / "bomb.png")
    assert time.perf_counter() - start < 0.5
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="no image that can be read"):
        read_upload(tmp_path / "text.png")


def answer(headers, method="GET", kind="http"):
    """The status that a request gets: 200 if it reaches the application."""
    sent = []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        await send({"status": 200})

    scope = {
        "type": kind, "method": method,
        "headers": [(k.encode(), str(v).encode()) for k, v in headers.items()],
    }  # fmt: skip
    asyncio.run(LocalRequests(app, PORT)(scope, None, send))
    return sent[0].get("status", sent[0].get("code"))


OWN = {"host": f"127.0.0.1:{PORT}"}


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        (OWN, "GET", 200),
        ({"host": f"localhost:{PORT}", "origin": f"http://localhost:{PORT}"}, "GET", 200),
        ({**OWN, "origin": f"http://127.0.0.1:{PORT}", "content-length": 10}, "POST", 200),
        ({}, "GET", 421),
        ({"host": f"evil.example:{PORT}"}, "GET", 421),
        ({"host": "127.0.0.1:80"}, "GET", 421),
        ({**OWN, "origin": "http://evil.example"}, "GET", 403),
        ({**OWN, "origin": "null", "content-length": 10}, "POST", 403),
        ({**OWN, "origin": f"https://127.0.0.1:{PORT}"}, "GET", 403),
        ({**OWN, "origin": f"http://127.0.0.1:{PORT}.evil.example"}, "GET", 403),
        (OWN, "POST", 411),
        ({**OWN, "content-length": "-1"}, "POST", 411),
        ({**OWN, "content-length": MAX_BYTES + 1}, "POST", 413),
    ],
)
def test_only_the_page_itself_is_answered(headers, method, status):
    assert answer(headers, method) == status


def test_a_socket_of_another_page_is_closed():
    assert answer({**OWN, "origin": "http://evil.example"}, kind="websocket") == 1008
    assert answer(OWN, kind="websocket") == 200
    assert answer({}, kind="lifespan") == 200


def test_without_gradio_it_says_how_to_install_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install 'mmseg_domino\[web\]'"):
        build_app(model, PORT)


def test_the_optional_packages_are_imported_when_they_are_used():
    tree = ast.parse(inspect.getsource(web))
    tops = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in tops}
    assert not {"gradio", "fastapi", "uvicorn", "starlette"} & {n.split(".")[0] for n in names}


def test_the_page_predicts_what_the_commands_predict(model, photo, tmp_path):
    gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    page = build_page(model)
    kinds = [type(block).__name__ for block in page.blocks.values()]
    assert kinds.count("Dropdown") == 2
    assert kinds.count("Image") == 3
    predict = next(f.fn for f in page.fns.values())
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    upload = str(tmp_path / "photo.png")
    left, right, scores, sentence = predict(upload, OWN_DOMAIN, "fog", 0.5)
    expected, _, text = compare_domains(model, photo, (OWN_DOMAIN, "fog"), 0.5)
    np.testing.assert_array_equal(left, expected[0])
    np.testing.assert_array_equal(right, expected[1])
    assert (sum(scores.values()), sentence) == (pytest.approx(1), text)
    with pytest.raises(gradio.Error, match="Choose an image"):
        predict(None, OWN_DOMAIN, "fog", 0.5)
    with pytest.raises(gradio.Error, match="unknown domain"):
        predict(upload, OWN_DOMAIN, "hail", 0.5)
    cv2.imwrite(upload, np.zeros((1500, 3000, 3), np.uint8))
    assert "reduced to 68 %" in predict(upload, "fog", "fog", 0.5)[-1]


def test_the_application_answers_its_own_page_only(model):
    pytest.importorskip("gradio", reason="gradio is not installed (extra `web`)")
    from fastapi.testclient import TestClient

    with TestClient(build_app(model, PORT), base_url=f"http://127.0.0.1:{PORT}") as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "Domino" in page.text
        assert "fonts.googleapis.com" not in page.text
        evil = {"origin": "http://evil.example"}
        assert client.get("/config", headers=evil).status_code == 403
        assert client.get("/config", headers={"host": "evil.example"}).status_code == 421
        large = {"files": b"x" * (MAX_BYTES + 1)}
        assert client.post("/gradio_api/upload", files=large).status_code == 413
        small = client.post("/gradio_api/upload", files={"files": ("x.png", b"x")})
        assert small.status_code == 200
