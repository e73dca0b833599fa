"""``domino segment`` on an image, a folder and a video, as a user runs it."""

import csv
import os

import cv2
import numpy as np
import pytest

from mmseg_domino.apps.inference import init_domino_model, predict_image

from ..small_domino import PALETTE, write_small_domino
from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return write_small_domino(folder, str(write_tiny_clip(folder / "clip")))


@pytest.fixture
def segment(domino, model_files, tmp_path):
    def run(source, *arguments):
        given = [source, *model_files, "--out", tmp_path / "out", "--device", "cpu", *arguments]
        return domino("segment", *(a for a in given if a is not None))

    return run


def photo(seed=0, size=(160, 240)):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def scores(folder):
    with open(folder / "domains.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_image(segment, tmp_path, capsys, model_files):
    bgr = photo()
    cv2.imwrite(str(tmp_path / "street.png"), bgr)
    assert segment(tmp_path / "street.png", "--opacity", "1") == 0
    prediction = predict_image(init_domino_model(*map(str, model_files)), bgr[..., ::-1])
    drawn = cv2.imread(str(tmp_path / "out" / "street.png"))[..., ::-1]
    colours = np.array(PALETTE, np.uint8)[prediction.labels]
    assert any((drawn[i : i + 160] == colours).all() for i in range(len(drawn) - 159))
    assert f"domain: {prediction.domain.replace('_', ' ')}" in capsys.readouterr().out
    [row] = scores(tmp_path / "out")
    assert (row["image"], row["domain"], row["forced"]) == ("street.png", prediction.domain, "")
    assert float(row["night"]) == pytest.approx(prediction.domain_scores[2], abs=1e-4)


def test_a_folder_keeps_its_tree_and_goes_on_after_a_bad_file(segment, tmp_path, capsys):
    data = tmp_path / "data"
    (data / "a").mkdir(parents=True)
    cv2.imwrite(str(data / "a" / "x.png"), photo(1))
    cv2.imwrite(str(data / "x.jpg"), photo(2))
    whole = cv2.imencode(".jpg", photo(3))[1].tobytes()
    (data / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "notes.txt").write_text("no image")
    assert segment(data) == 1
    out = tmp_path / "out"
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found == {"a/x.png", "x.png", "domains.csv"}
    assert [row["image"] for row in scores(out)] == ["a/x.png", "x.jpg"]
    assert "broken.jpg is truncated" in capsys.readouterr().err


def test_names_that_are_no_utf_8_work_or_are_named(segment, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(cv2.imencode(".png", photo())[1].tobytes())
    assert segment(path.parent, "--labels", tmp_path / "raw") == 0
    assert (tmp_path / "out" / path.name).is_file()
    assert (tmp_path / "raw" / path.name).is_file()
    assert [row["image"] for row in scores(tmp_path / "out")] == ["caf\\xe9.png"]
    film = path.with_suffix(".avi")
    film.write_bytes(b"")
    capsys.readouterr()
    assert segment(film) == 1
    assert "caf\\xe9.avi: OpenCV takes no video" in capsys.readouterr().err


def test_raw_label_maps_and_images_that_differ_in_their_ending(segment, tmp_path, model_files):
    data = tmp_path / "data"
    data.mkdir()
    for name, seed in (("x.png", 1), ("x.jpg", 2), ("y.jpg", 3)):
        cv2.imwrite(str(data / name), photo(seed))
    assert segment(data, "--labels", tmp_path / "maps") == 0
    names = {"x.png.png", "x.jpg.png", "y.png"}
    assert {p.name for p in (tmp_path / "maps").iterdir()} == names
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == names
    labels = cv2.imread(str(tmp_path / "maps" / "x.png.png"), cv2.IMREAD_UNCHANGED)
    model = init_domino_model(*map(str, model_files))
    np.testing.assert_array_equal(labels, predict_image(model, photo(1)[..., ::-1]).labels)


def test_a_video(segment, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "drive.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 12, (240, 160)
    )
    for seed in range(3):
        writer.write(photo(seed))
    writer.release()
    assert segment(tmp_path / "drive.avi") == 0
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


def test_a_forced_domain(segment, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "x.png"), photo())
    assert segment(tmp_path / "x.png", "--force-domain", "night") == 0
    assert "forced: night" in capsys.readouterr().out
    [row] = scores(tmp_path / "out")
    assert row == {"image": "x.png", "domain": "", "forced": "night"}
    assert segment(tmp_path / "x.png", "--force-domain", "hail") == 1
    assert "unknown domain 'hail'; the model's are clear_day" in capsys.readouterr().err


def test_wrong_input_is_named(segment, tmp_path, capsys):
    def error(source, *arguments):
        assert segment(source, *arguments) == 1
        return capsys.readouterr().err

    assert "none.png does not exist" in error(tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    assert "there are no images below" in error(tmp_path / "empty")
    (tmp_path / "x.png").write_bytes(b"no image")
    assert "x.png cannot be decoded" in error(tmp_path / "x.png")
    (tmp_path / "x.mp4").write_bytes(b"no video")
    assert "x.mp4 is not a readable video" in error(tmp_path / "x.mp4")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())
    assert segment(None) == segment(tmp_path / "x.png", "--opacity", "2") == 2


def test_the_page_is_served(segment, monkeypatch):
    served = []
    monkeypatch.setattr("mmseg_domino.apps.web.serve", lambda model, port: served.append(port))
    assert segment(None, "--web", "--port", "7999") == 0
    assert served == [7999]
