"""Boxes and masks of the street world's objects."""

import json

import cv2
import numpy as np
import pytest

from street_world import trees, write_street_world
from street_world.instances import INSTANCE_CLASSES
from street_world.street import CLASSES, LABEL_IDS

SIZE = (64, 128)
CITY = "cityscapes/annotations/instancesonly_filtered_gtFine_val.json"
ACDC = "acdc/gt_detection/instancesonly_val_gt_detection.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_street_world(
        tmp_path_factory.mktemp("world"), 1, 3, SIZE, seed=5, workers=0, progress=False
    )


def decode(runs):
    flat = np.repeat(np.arange(len(runs["counts"])) % 2, runs["counts"])
    return flat.reshape(runs["size"], order="F").astype(bool)


@pytest.mark.parametrize(("file", "images"), [(CITY, "cityscapes/leftImg8bit/val"),
                                              (ACDC, "acdc/rgb_anon")])  # fmt: skip
def test_masks_are_the_labels_pixels_and_boxes_hold_them(world, file, images):
    data = json.loads((world / file).read_text())
    assert [c["name"] for c in data["categories"]] == list(INSTANCE_CLASSES)
    assert len(data["images"]) == (3 if file == CITY else 12)
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"]) > 10
    for image in data["images"]:
        path = world / images / image["file_name"]
        assert path.is_file()
        name = str(path).replace("leftImg8bit/", "gtFine/").replace("rgb_anon/", "gt/")
        ending = "gtFine" if file == CITY else "gt"
        name = name.replace("_leftImg8bit", f"_{ending}").replace("_rgb_anon", f"_{ending}")
        label = cv2.imread(name.replace(".png", "_labelTrainIds.png"), -1)
        ids = cv2.imread(name.replace(".png", "_instanceIds.png"), -1)
        mine = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        covered = np.zeros(SIZE, int)
        for item in mine:
            mask = decode(item["segmentation"])
            covered += mask
            index = CLASSES.index(INSTANCE_CLASSES[item["category_id"] - 1])
            assert (label[mask] == index).all()
            assert (ids[mask] // 1000 == LABEL_IDS[index]).all()
            assert len(np.unique(ids[mask])) == 1
            x, y, w, h = item["bbox"]
            rows, columns = np.nonzero(mask)
            assert (x, y, w, h) == (
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            )
            assert item["area"] == mask.sum() >= 10
        assert covered.max() <= 1


def test_conditions_show_the_same_objects(world):
    city, acdc = (json.loads((world / f).read_text()) for f in (CITY, ACDC))
    boxes = sorted(a["bbox"] for a in city["annotations"])
    fog = {i["id"] for i in acdc["images"] if i["file_name"].startswith("fog/")}
    assert sorted(a["bbox"] for a in acdc["annotations"] if a["image_id"] in fog) == boxes


def test_a_world_without_instances_is_completed_and_its_pictures_stay(world, monkeypatch):
    pictures = {p: p.stat().st_mtime_ns for p in world.rglob("*.png") if "Ids" not in p.name}
    before = (world / CITY).read_bytes()
    for path in [*world.rglob("*_instanceIds.png"), world / CITY, world / ACDC]:
        path.unlink()
    manifest = world / trees.MANIFEST
    known = json.loads(manifest.read_text())
    known.pop("layout")
    manifest.write_text(json.dumps(known))
    write_street_world(world, 1, 3, SIZE, seed=5, workers=0, progress=False)
    assert {p: p.stat().st_mtime_ns for p in pictures} == pictures
    assert (world / CITY).read_bytes() == before
