"""tools/demo.py on an image, a folder and a video, as a user runs it."""

import csv
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmseg_domino.apps.inference import init_domino_model, predict_image

from ..small_domino import PALETTE, write_small_domino
from ..tiny_clip import write_tiny_clip

TOOL = Path(__file__).parents[2] / "tools" / "demo.py"


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return write_small_domino(folder, str(write_tiny_clip(folder / "clip")))


@pytest.fixture
def demo(monkeypatch, model_files, tmp_path):
    def run(source, *arguments):
        spec = importlib.util.spec_from_file_location("demo", TOOL)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        given = [source, *model_files, "--out", tmp_path / "out", "--device", "cpu", *arguments]
        monkeypatch.setattr(sys, "argv", ["demo.py", *(str(a) for a in given if a is not None)])
        return module.main()

    return run


def photo(seed=0, size=(160, 240)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def scores(folder):
    with open(folder / "domains.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_image(demo, tmp_path, capsys, model_files):
    bgr = photo()
    cv2.imwrite(str(tmp_path / "street.png"), bgr)
    assert demo(tmp_path / "street.png", "--opacity", "1") == 0
    prediction = predict_image(init_domino_model(*map(str, model_files)), bgr[..., ::-1])
    drawn = cv2.imread(str(tmp_path / "out" / "street.png.png"))[..., ::-1]
    colours = np.array(PALETTE, np.uint8)[prediction.labels]
    assert any((drawn[i : i + 160] == colours).all() for i in range(len(drawn) - 159))
    assert f"domain: {prediction.domain.replace('_', ' ')}" in capsys.readouterr().out
    [row] = scores(tmp_path / "out")
    assert (row["image"], row["domain"], row["forced"]) == ("street.png", prediction.domain, "")
    assert float(row["night"]) == pytest.approx(prediction.domain_scores[2], abs=1e-4)


def test_a_folder_keeps_its_tree_and_goes_on_after_a_bad_file(demo, tmp_path, capsys):
    data = tmp_path / "data"
    (data / "a").mkdir(parents=True)
    cv2.imwrite(str(data / "a" / "x.png"), photo(1))
    cv2.imwrite(str(data / "x.jpg"), photo(2))
    whole = cv2.imencode(".jpg", photo(3))[1].tobytes()
    (data / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "notes.txt").write_text("no image")
    assert demo(data) == 1
    out = tmp_path / "out"
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found == {"a/x.png.png", "x.jpg.png", "domains.csv"}
    assert [row["image"] for row in scores(out)] == ["a/x.png", "x.jpg"]
    assert "broken.jpg is truncated" in capsys.readouterr().err


def test_a_video(demo, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "drive.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (240, 160)
    )
    for seed in range(3):
        writer.write(photo(seed))
    writer.release()
    assert demo(tmp_path / "drive.avi") == 0
    film = cv2.VideoCapture(str(tmp_path / "out" / "drive.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    frames = []
    while True:
        read, frame = film.read()
        if not read:
            break
        frames.append(frame)
    assert len(frames) == 3
    assert frames[0].shape[1] == 240
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 3
    assert [r["image"] for r in scores(tmp_path / "out")] == [f"drive.avi#{i}" for i in range(3)]


def test_a_forced_domain(demo, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "x.png"), photo())
    assert demo(tmp_path / "x.png", "--force-domain", "night") == 0
    assert "forced: night" in capsys.readouterr().out
    [row] = scores(tmp_path / "out")
    assert row == {"image": "x.png", "domain": "", "forced": "night"}
    assert demo(tmp_path / "x.png", "--force-domain", "hail") == 1
    assert "unknown domain 'hail'; the model's are clear_day" in capsys.readouterr().err


def test_wrong_input_is_named(demo, tmp_path, capsys):
    def error(source, *arguments):
        assert demo(source, *arguments) == 1
        return capsys.readouterr().err

    assert "none.png does not exist" in error(tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in error(tmp_path / "empty")
    (tmp_path / "x.png").write_bytes(b"no image")
    assert "x.png cannot be decoded" in error(tmp_path / "x.png")
    (tmp_path / "x.mp4").write_bytes(b"no video")
    assert "x.mp4 is not a readable video" in error(tmp_path / "x.mp4")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
    for arguments in ((None,), (tmp_path / "x.png", "--opacity", "2")):
        with pytest.raises(SystemExit):
            demo(*arguments)


def test_the_page_opens_on_this_machine_only(demo, monkeypatch):
    launched = []

    class Page:
        def launch(self, **options):
            launched.append(options)

    monkeypatch.setattr("mmseg_domino.apps.web.build_page", lambda model: Page())
    assert demo(None, "--web", "--port", "7999") == 0
    assert launched[0]["server_name"] == "127.0.0.1"
    assert launched[0]["server_port"] == 7999
    assert launched[0]["share"] is False
