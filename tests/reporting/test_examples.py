"""Choosing, keeping and drawing example images."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from mmseg_domino.metrics import GroupKey, PerImage, ResultsError
from mmseg_domino.reporting import (
    ExampleArrays,
    Selection,
    clear_examples,
    select_examples,
    write_example,
    write_index,
)
from mmseg_domino.reporting.examples import error_map, load_examples, render

PALETTE = ((255, 0, 0), (0, 255, 0))


def counts(mious, group="acdc/fog"):
    """Images of one class with the given IoUs in percent; None: nothing labelled."""
    label = np.array([[0 if m is None else 100] for m in mious])
    hit = np.array([[m or 0] for m in mious])
    names = tuple(f"{group}/{i}.png" for i in range(len(mious)))
    counts = np.stack([hit, hit, label], axis=1)
    return PerImage(names, (GroupKey(group),) * len(mious), ("road",), counts)


def kinds(per_image, number=1):
    return [(s.index, s.kind, s.rank) for s in select_examples(per_image, number)]


def test_best_median_worst():
    assert kinds(counts([50, 10, 90, 70, 30])) == [
        (2, "best", 1), (0, "median", 3), (1, "worst", 5),
    ]  # fmt: skip
    assert kinds(counts([10, 20, 30, 40, 50, 60, 70, 80]), 2) == [
        (7, "best", 1), (6, "best", 2), (5, "median", 3), (4, "median", 4),
        (1, "worst", 7), (0, "worst", 8),
    ]  # fmt: skip


def test_small_groups_give_what_they_have_once():
    assert kinds(counts([50])) == [(0, "best", 1)]
    assert kinds(counts([50, 60])) == [(1, "best", 1), (0, "worst", 2)]


def test_images_without_labels_are_left_out():
    chosen = select_examples(counts([None, 40, None, 60, 50]))
    assert [s.index for s in chosen] == [3, 4, 1]
    assert {s.count for s in chosen} == {3}


def test_number_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        select_examples(counts([1]), 0)


def arrays(size=(4, 6), **parts):
    rng = np.random.default_rng(0)
    values = {
        "image": rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        "prediction": rng.integers(0, 2, size, dtype=np.uint8),
        "truth": rng.choice(np.array([0, 1, 255], np.uint8), size),
        "confidence": rng.integers(0, 256, size, dtype=np.uint8),
    }
    return ExampleArrays(**{**values, **parts})


def selection(**values):
    base = dict(index=3, group="acdc/fog", image="x/1.png", kind="best", rank=1, count=9, miou=61.5)
    return Selection(**{**base, **values})


def store(folder, given=None):
    example = write_example(folder, selection(), vars(arrays() if given is None else given))
    write_index(folder, ["road", "sky"], [example])
    return example


def test_what_is_written_is_read_again(tmp_path):
    written = store(tmp_path)
    (loaded,) = load_examples(tmp_path, ["road", "sky"])
    assert loaded == written
    for part, array in loaded.pictures().items():
        np.testing.assert_array_equal(array, getattr(arrays(), part))


def test_without_labels_or_confidence(tmp_path):
    store(tmp_path, arrays(truth=None, confidence=None))
    loaded = ExampleArrays(**load_examples(tmp_path)[0].pictures())
    assert loaded.truth is None
    assert loaded.confidence is None
    assert list(render(loaded, PALETTE)) == ["input", "prediction"]


def test_reducing_keeps_labels_labels():
    small = arrays((40, 60)).reduced(15)
    assert small.image.shape == (10, 15, 3)
    assert set(np.unique(small.truth)) <= {0, 1, 255}
    assert arrays().reduced(100).prediction.shape == (4, 6)


def test_clearing_removes_only_its_own(tmp_path):
    store(tmp_path)
    (tmp_path / "notes.png").write_bytes(b"")
    clear_examples(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.png"]
    assert load_examples(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="x/2"), "format is 'x/2'"),
        (lambda d: d.update(classes=["sea"]), "another class set"),
        (lambda d: d.pop("examples"), "damaged"),
        (lambda d: d["examples"][0].pop("rank"), "damaged"),
        (lambda d: d["examples"][0].update(kind="odd"), "'odd' image"),
        (lambda d: d["examples"][0]["files"].pop("image"), r"image with \['confidence'"),
        (
            lambda d: d["examples"][0]["files"].update(image="../secret.png"),
            "names '../secret.png'",
        ),
        (lambda d: d["examples"][0]["files"].update(image="/etc/secret.png"), "/etc/secret.png"),
        (lambda d: d["examples"][0]["files"].update(image=3), "names 3"),
    ],
)
def test_damaged_index(tmp_path, change, message):
    store(tmp_path)
    file = tmp_path / "examples.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=rf"examples\.json.*{message}"):
        load_examples(tmp_path, ["road", "sky"])
    clear_examples(tmp_path)  # and does not stop the next test


def test_no_image_of_the_disk_gets_into_a_report(tmp_path):
    """Neither by a name nor through a link."""
    secret = tmp_path / "secret.png"
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(secret)
    folder = tmp_path / "examples"
    example = store(folder)
    (folder / example.files["image"]).unlink()
    (folder / example.files["image"]).symlink_to(secret)
    with pytest.raises(ResultsError, match=r"examples\.json.*leads through a link"):
        load_examples(folder)
    clear_examples(folder)
    assert secret.exists()


def test_parts_of_different_sizes_are_refused(tmp_path):
    example = store(tmp_path)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / example.files["truth"])
    with pytest.raises(ResultsError, match="not of one size"):
        example.pictures()


def test_damaged_picture_is_named(tmp_path):
    example = store(tmp_path)
    (tmp_path / example.files["truth"]).write_bytes(b"\x89PNG")
    with pytest.raises(ResultsError, match=r"acdc_fog_00001_truth\.png"):
        example.pictures()


def decode(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_pictures_have_the_class_colours():
    given = arrays()
    pictures = render(given, PALETTE)
    assert list(pictures) == ["input", "truth", "prediction", "error", "confidence"]
    colours = np.array([*PALETTE, (255, 255, 255)])
    np.testing.assert_array_equal(decode(pictures["prediction"]), colours[given.prediction])
    truth = np.where(given.truth == 255, 2, given.truth)
    np.testing.assert_array_equal(decode(pictures["truth"]), colours[truth])


def test_error_map_marks_exactly_the_wrong_pixels():
    given = arrays(image=np.full((4, 6, 3), 100, np.uint8))
    picture = error_map(given).astype(int)
    wrong = (given.truth != given.prediction) & (given.truth != 255)
    reddish = picture[..., 0] - picture[..., 2] > 60
    np.testing.assert_array_equal(reddish, wrong)
    np.testing.assert_array_equal((picture == 255).all(-1), given.truth == 255)
