"""``domino export`` and ``domino segment --model``, as a user runs them."""

import csv

import cv2
import numpy as np
import pytest

from ..small_domino import PALETTE, write_small_domino
from ..tiny_clip import write_tiny_clip


@pytest.fixture
def files(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for name, size in (("x.png", (96, 64)), ("y.jpg", (192, 128))):
        picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "in" / name), picture)
    return write_small_domino(tmp_path, str(write_tiny_clip(tmp_path / "clip")))


def test_from_checkpoint_to_pictures(domino, files, tmp_path, capsys):
    out, pictures = tmp_path / "model", tmp_path / "seen"
    assert domino("export", *files, "--out", out, "--verify", tmp_path / "in") == 0
    said = capsys.readouterr().out
    assert "compared on 2 images: largest difference of logits" in said
    assert f"written to {out}" in said
    given = ["segment", tmp_path / "in" / "x.png", tmp_path / "in", "--model", out]
    options = ["--out", pictures, "--opacity", "1", "--labels", tmp_path / "maps"]
    assert domino(*given, *options) == 0
    assert "written: 3 predictions" in capsys.readouterr().out
    labels = cv2.imread(str(tmp_path / "maps" / "x.png"), cv2.IMREAD_UNCHANGED)
    drawn = cv2.imread(str(pictures / "x.png"))[..., ::-1]
    colours = np.array(PALETTE, np.uint8)[labels]
    assert any((drawn[i : i + 64] == colours).all() for i in range(len(drawn) - 63))
    with open(pictures / "domains.csv", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["x.png", "in/x.png", "in/y.jpg"]


def test_wrong_input_is_named(domino, files, tmp_path, capsys):
    config, checkpoint = files
    out = tmp_path / "model"

    def error(code, *arguments):
        assert domino(*arguments) == code
        return capsys.readouterr().err

    assert "give --verify" in error(2, "export", *files, "--out", out, "--half")
    (tmp_path / "none.pth").write_bytes(b"")
    assert "none.pth" in error(1, "export", config, tmp_path / "none.pth", "--out", out)
    assert "holds no exported model" in error(1, "export", *files, "--out", tmp_path)
    assert not out.exists()
    image = tmp_path / "in" / "x.png"
    assert "holds no exported model" in error(1, "segment", image, "--model", out)
    assert "with --model give images" in error(2, "segment", "--model", out)
    assert "or --model FOLDER" in error(2, "segment", image)
