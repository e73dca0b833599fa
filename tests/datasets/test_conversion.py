import json

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmseg_domino.datasets.conversion import (
    CITYSCAPES_LABELS,
    SYNTHIA_LABELS,
    label_table,
    mapillary_labels,
    wilddash_table,
)
from mmseg_domino.datasets.converters import convert_dataset

CLASSES = CityscapesDataset.METAINFO["classes"]


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_cityscapes_ids_are_the_official_ones():
    labels = pytest.importorskip(
        "cityscapesscripts.helpers.labels", reason="cityscapesscripts is not installed"
    ).labels
    table = label_table(CITYSCAPES_LABELS, 34).train_ids
    for label in labels:
        if label.id >= 0:
            assert table[label.id] == (label.trainId if 0 <= label.trainId < 19 else 255)


def test_every_table_names_all_classes():
    for labels in (CITYSCAPES_LABELS, SYNTHIA_LABELS, mapillary_labels("1.2")[0],
                   mapillary_labels("2.0")[0]):  # fmt: skip
        assert set(labels) == set(CLASSES)
        values = [value for members in labels.values() for value in members]
        assert len(values) == len(set(values))
        assert all(labels.values())


def test_mapillary_releases_agree():
    first, _ = mapillary_labels("1.2")
    second, count = mapillary_labels("2.0")
    assert count == 124
    assert first["road"] == (13, 24, 41)  # road, lane marking - general, manhole
    assert first["rider"] == (20, 21, 22)
    # A class of release 1.2 may be split in 2.0, never merged with another one.
    for name in CLASSES:
        assert len(second[name]) >= len(first[name])
    assert 45 not in second["road"]  # lane marking - crosswalk, ignored as in 1.2
    with pytest.raises(ValueError, match="version must be"):
        mapillary_labels("1.0")


def test_gta5(tmp_path):
    ids = np.array([[7, 26, 34, 0], [33, 8, 7, 7]], np.uint8)
    palette = Image.frombytes("P", (4, 2), ids.tobytes())
    palette.putpalette([255 - i for i in range(256) for _ in range(3)])
    (tmp_path / "labels").mkdir()
    palette.save(tmp_path / "labels/00001.png")
    assert convert_dataset("gta5", tmp_path) == (1, 1)
    converted = np.array(Image.open(tmp_path / "labels/00001_labelTrainIds.png"))
    assert converted.tolist() == [[0, 13, 255, 255], [18, 1, 0, 0]]
    assert convert_dataset("gta5", tmp_path) == (0, 1)  # neither again nor what it made
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        "00001.png",
        "00001_labelTrainIds.png",
    ]


def test_gta5_in_colours_is_refused(tmp_path):
    path = save(tmp_path / "labels/00001.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=f"{path.name} has shape .*painted in colours"):
        convert_dataset("gta5", tmp_path)


def test_cityscapes(tmp_path):
    folder = tmp_path / "gtFine/val/ulm"
    save(folder / "ulm_000000_000019_gtFine_labelIds.png", np.array([[7, 33, 4]], np.uint8))
    convert_dataset("cityscapes", tmp_path)
    made = Image.open(folder / "ulm_000000_000019_gtFine_labelTrainIds.png")
    assert np.array(made).tolist() == [[0, 18, 255]]


def test_a_read_only_tree_is_converted_elsewhere(tmp_path):
    name = "gtFine/val/ulm/ulm_000000_000019_gtFine_label{}.png"
    save(tmp_path / "data" / name.format("Ids"), np.array([[7, 33, 4]], np.uint8))
    assert convert_dataset("cityscapes", tmp_path / "data", tmp_path / "made") == (1, 1)
    made = [p.relative_to(tmp_path / "made") for p in (tmp_path / "made").rglob("*.png")]
    assert [str(path) for path in made] == [name.format("TrainIds")]
    assert len(list((tmp_path / "data").rglob("*.png"))) == 1


def test_synthia(tmp_path):
    label = np.zeros((2, 3, 3), np.uint16)
    label[..., 2] = [[3, 8, 0], [1, 22, 10]]  # OpenCV's last channel, the file's red one
    label[..., 1] = 700  # instances
    (tmp_path / "GT/LABELS").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "GT/LABELS/0000000.png"), label)
    convert_dataset("synthia", tmp_path)
    made = Image.open(tmp_path / "GT/LABELS/0000000_labelTrainIds.png")
    assert np.array(made).tolist() == [[0, 13, 255], [10, 255, 11]]


@pytest.mark.parametrize("folder", ["validation/v1.2/labels", "validation/labels"])
def test_mapillary(tmp_path, folder):
    save(tmp_path / folder / "x.png", np.array([[13, 2, 65, 58]], np.uint8))
    convert_dataset("mapillary", tmp_path)
    made = Image.open(tmp_path / "validation/labels/x_labelTrainIds.png")
    assert np.array(made).tolist() == [[0, 1, 255, 16]]
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_mapillary_of_the_second_release(tmp_path):
    save(tmp_path / "validation/v2.0/labels/x.png", np.array([[21, 123]], np.uint8))
    convert_dataset("mapillary", tmp_path, version="2.0")
    made = np.array(Image.open(tmp_path / "validation/v2.0/labels/x_labelTrainIds.png"))
    assert made.tolist() == [[0, 255]]  # Road; Unlabeled


def test_a_label_of_another_release_is_refused(tmp_path):
    save(tmp_path / "validation/v1.2/labels/x.png", np.array([[123]], np.uint8))
    with pytest.raises(ValueError, match=r"x.png holds the value 123, expected 0 to 65"):
        convert_dataset("mapillary", tmp_path)
    assert not list(tmp_path.rglob("*_labelTrainIds.png"))


def categories():
    names = ["unlabeled", *CLASSES, "Road-Marking", "van", "billboard"]
    return [{"id": i, "name": name} for i, name in enumerate(names)]


def test_wilddash(tmp_path):
    segments = {5: 1, 70000: 14, 300: 20, 12: 21, 13: 22}
    ids = np.array([[5, 70000, 300], [12, 13, 999]])
    png = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    save(tmp_path / "panoptic/wd0.png", png)
    annotation = {
        "file_name": "wd0.png",
        "segments_info": [{"id": s, "category_id": c} for s, c in segments.items()],
    }
    (tmp_path / "panoptic.json").write_text(
        json.dumps({"annotations": [annotation], "categories": categories()})
    )
    convert_dataset("wilddash2", tmp_path)
    made = np.array(Image.open(tmp_path / "labelTrainIds/wd0.png"))
    # road, car, road marking as road; van as car, billboard and an unknown segment ignored
    assert made.tolist() == [[0, 13, 0], [13, 255, 255]]


@pytest.mark.parametrize("absolute", [True, False])
def test_wilddash_names_outside_its_folder_are_refused(tmp_path, absolute):
    theirs = save(tmp_path / "theirs/x.png", np.zeros((4, 4, 3), np.uint8))
    before = theirs.read_bytes()
    name = str(theirs) if absolute else "../../theirs/x.png"
    save(tmp_path / "wd2/panoptic/wd0.png", np.ones((4, 4, 3), np.uint8))
    annotations = [{"file_name": n, "segments_info": []} for n in ("wd0.png", name)]
    content = {"annotations": annotations, "categories": categories()}
    (tmp_path / "wd2/panoptic.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"panoptic\.json names .*x\.png"):
        convert_dataset("wilddash2", tmp_path / "wd2", overwrite=True)
    assert theirs.read_bytes() == before
    assert not (tmp_path / "wd2/labelTrainIds").exists()


def test_muses_panoptic_labels_become_the_19_classes(tmp_path):
    """By the ids and names of Cityscapes, which its panoptic files have."""
    ids = np.array([[1, 2, 70000], [3, 4, 0]])
    png = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    known = {i: name for name, values in CITYSCAPES_LABELS.items() for i in values}
    listed = [{"id": i, "name": name} for i, name in {**known, 4: "static"}.items()]
    for split in ("train", "val"):
        name = f"{split}/fog/night/REC0001_frame_000002_gt_panoptic.png"
        save(tmp_path / "gt_panoptic" / name, png)
        segments = {1: 7, 2: 26, 70000: 23, 3: 33, 4: 4}
        annotation = {
            "file_name": name,
            "segments_info": [{"id": s, "category_id": c} for s, c in segments.items()],
        }
        (tmp_path / f"gt_panoptic/{split}.json").write_text(
            json.dumps({"annotations": [annotation], "categories": listed})
        )
    assert convert_dataset("muses", tmp_path) == (2, 2)
    label = "gt_semantic/val/fog/night/REC0001_frame_000002_gt_labelTrainIds.png"
    made = np.array(Image.open(tmp_path / label))
    assert made.tolist() == [[0, 13, 10], [18, 255, 255]]
    with pytest.raises(FileNotFoundError, match="no original labels of muses"):
        convert_dataset("muses", tmp_path / "empty")


def test_wilddash_without_a_class_is_refused():
    with pytest.raises(ValueError, match="lack bicycle"):
        wilddash_table([c for c in categories() if c["name"] != "bicycle"])


def test_no_labels_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no original labels of gta5"):
        convert_dataset("gta5", tmp_path)


def test_a_truncated_label_is_named(tmp_path):
    path = save(tmp_path / "labels/00001.png", np.ones((40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"00001.png is truncated"):
        convert_dataset("gta5", tmp_path)
