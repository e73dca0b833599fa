"""Annotation files of detectors: read, tagged, checked."""

import json

import numpy as np
import pytest

pytest.importorskip("mmdet")

from click.testing import CliRunner
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools import mask as coco_mask

from mmseg_domino.cli import main
from mmseg_domino.detection import (
    BDD100KDetDataset,
    DiverseWeatherDataset,
    DomainCocoDataset,
    convert_instances,
)
from mmseg_domino.detection.cityscapes import instances_of


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


def coco(**changes):
    box = dict(iscrowd=0, area=100.0)
    data = dict(
        # not in the order of the config's classes
        categories=[dict(id=26, name="car"), dict(id=24, name="person"), dict(id=30, name="sled")],
        images=[dict(id=i, file_name=name, width=40, height=30)
                for i, name in enumerate(("fog/val/a.png", "night/val/b.png", "snow/val/c.png"))],
        annotations=[
            dict(box, id=1, image_id=0, category_id=24, bbox=[1, 1, 10, 10],
                 segmentation=[[1, 1, 11, 1, 11, 11]]),
            dict(box, id=2, image_id=0, category_id=26, bbox=[5, 5, 0, 10]),
            dict(box, id=3, image_id=0, category_id=26, bbox=[60, 5, 10, 10]),
            dict(box, id=4, image_id=0, category_id=30, bbox=[5, 5, 10, 10]),
            dict(box, id=5, image_id=1, category_id=26, bbox=[-5, 5, 10, 10], iscrowd=1),
        ],
    )  # fmt: skip
    return {**data, **changes}


def dataset(tmp_path, data=None, **options):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(coco() if data is None else data))
    given = dict(
        ann_file=str(file), data_prefix=dict(img=str(tmp_path)), dataset_name="acdc",
        domains=("fog", "night"), metainfo=dict(classes=("person", "car")), pipeline=[],
    )  # fmt: skip
    return DomainCocoDataset(**{**given, **options})


def test_images_are_tagged_and_labels_follow_the_config(tmp_path):
    data = dataset(tmp_path)
    assert [(i["domain"], i["dataset"]) for i in data] == [("fog", "acdc"), ("night", "acdc")]
    assert [(i["bbox_label"], i["ignore_flag"]) for i in data[0]["instances"]] == [(0, 0)]
    assert [(i["bbox_label"], i["ignore_flag"]) for i in data[1]["instances"]] == [(1, 1)]
    whole = dataset(tmp_path, domains=None, domain="clear_day", rename=("c.png", "c_foggy.png"),
                    data=coco(images=coco()["images"][2:], annotations=[]))  # fmt: skip
    assert whole[0]["img_path"].endswith("snow/val/c_foggy.png")
    assert (whole[0]["domain"], whole[0]["instances"]) == ("clear_day", [])
    assert whole[0]["seg_map_path"] is None


def test_semantic_labels_may_be_called_otherwise_than_the_images(tmp_path):
    prefix = dict(img=str(tmp_path), seg="gtFine/train")
    data = coco(images=coco()["images"][:1], annotations=[])
    named = dataset(tmp_path, data, data_prefix=prefix, seg_rename=("a.png", "a_trainIds.png"))
    assert named[0]["seg_map_path"] == "gtFine/train/fog/val/a_trainIds.png"
    with pytest.raises(ValueError, match=r"does not end in 'b.png', which `seg_rename`"):
        dataset(tmp_path, data_prefix=prefix, seg_rename=("b.png", "c.png"))


BAD = {
    "stray": (coco(images=coco()["images"][:1]), {}, "images that it does not list"),
    "category": (coco(categories=coco()["categories"][:2]), {}, r"categories \[30\]"),
    "class": (
        None,
        dict(metainfo=dict(classes=("person", "bus"))),
        r"lacks the .*\['bus'",
    ),
    "file": ([], {}, "is no COCO file"),
    "domain": (None, dict(domain="fog"), "one of both"),
    "folder": (None, dict(domains=("rain",)), "no image is in a folder named rain"),
    "rename": (None, dict(rename=("x.png", "y.png")), "does not end in 'x.png'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    data, options, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        dataset(tmp_path, data, **options)
    with pytest.raises(FileNotFoundError, match=r"docs/detection\.md"):
        dataset(tmp_path, ann_file="none.json")


def polygons():
    def item(label, *corners, **more):
        return dict(label=label, polygon=[list(c) for c in corners], **more)

    return dict(imgHeight=40, imgWidth=60, objects=[
        item("road", (0, 0), (59, 0), (59, 39), (0, 39)),
        item("car", (-5, 5), (30, 5), (30, 25), (-5, 25)),
        item("license plate", (5, 8), (9, 8), (9, 12), (5, 12)),
        item("person", (25, 10), (35, 10), (35, 35), (25, 35)),
        item("cargroup", (40, 5), (70, 5), (70, 20), (40, 20)),
        item("bus", (1, 30), (9, 30), (9, 38), (1, 38), deleted=1),
        item("truck", (50, 30), (54, 30), (54, 34), (50, 34)),
        item("pole", (50, 30), (54, 30), (54, 34), (50, 34)),
    ])  # fmt: skip


def test_polygons_become_the_instances_of_cityscapes_own_scripts(tmp_path):
    scripts = pytest.importorskip("cityscapesscripts.preparation.json2instanceImg")
    from cityscapesscripts.helpers.annotation import Annotation

    folder = tmp_path / "gtFine/val/city"
    folder.mkdir(parents=True)
    file = folder / "city_000000_000019_gtFine_polygons.json"
    file.write_text(json.dumps(polygons()))
    annotation = Annotation()
    annotation.fromJsonFile(str(file))
    wanted = np.asarray(scripts.createInstanceImage(annotation, "ids"))

    written = CliRunner().invoke(main, ["data", "convert", "cityscapes-instances", str(tmp_path)])
    assert written.exit_code == 1
    assert "train has no file" in written.output
    data = json.loads(convert_instances(tmp_path, ("val",))[0].read_text())
    assert data["images"][0]["file_name"] == "city/city_000000_000019_leftImg8bit.png"
    found = {}
    for item in data["annotations"]:
        mask = coco_mask.decode(item["segmentation"]).astype(bool)
        assert item["area"] == mask.sum()
        number = item["category_id"] if item["iscrowd"] else item["category_id"] * 1000
        found[number] = mask
    assert sorted(found) == [26, 24000, 26000], "the truck is behind the pole, the bus deleted"
    for number, mask in found.items():
        np.testing.assert_array_equal(mask, wanted == number)
    assert instances_of(dict(imgHeight=4, imgWidth=4, objects=[])) == []
    file.write_text("{}")
    with pytest.raises(ValueError, match="city_000000_000019_gtFine_polygons"):
        convert_instances(tmp_path, ("val",))


def test_bdd100k_reads_its_own_labels(tmp_path):
    box = dict(x1=-3.0, y1=2.0, x2=20.0, y2=900.0)
    frames = [
        dict(name="a.jpg", attributes=dict(timeofday="night", weather="rainy"), labels=[
            dict(category="pedestrian", box2d=box, attributes=dict(crowd=True)),
            dict(category="traffic light", box2d=dict(box, x2=-3.0)),
            dict(category="trailer", box2d=box), dict(category="lane", poly2d=[]),
        ]),
        dict(name="b.jpg", attributes=dict(timeofday="dawn/dusk", weather="clear"), labels=None),
    ]  # fmt: skip
    file = tmp_path / "det.json"
    file.write_text(json.dumps(frames))
    options = dict(ann_file=str(file), data_prefix=dict(img=str(tmp_path)), pipeline=[])
    data = BDD100KDetDataset(domain_by=("timeofday", "weather"), **options)
    assert [i["domain"] for i in data] == ["night-rainy", "dawn_dusk-clear"]
    assert data[0]["instances"] == [dict(bbox=[0, 2, 20, 720], bbox_label=0, ignore_flag=1)]
    assert data[1]["instances"] == []
    frames[0]["labels"][0]["category"] = "horse"
    file.write_text(json.dumps(frames))
    with pytest.raises(ValueError, match="'horse' is none of"):
        BDD100KDetDataset(**options)


def test_diverse_weather_reads_voc(tmp_path):
    folder = tmp_path / "Night-Sunny/VOC2007"
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets/Main/test.txt").write_text("x1\n")
    corners = "<bndbox><xmin>{}</xmin><ymin>3</ymin><xmax>9</xmax><ymax>12</ymax></bndbox>"
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult>{corners.format(x)}</object>"
        for name, x in (("motor", 2), ("car", 9), ("dog", 2))
    )
    size = "<size><width>40</width><height>30</height></size>"
    (folder / "Annotations/x1.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    options = dict(data_root=str(tmp_path), pipeline=[], test_mode=True)
    data = DiverseWeatherDataset("night_clear", **options)
    assert (data[0]["dataset"], data[0]["domain"]) == ("diverse_weather", "night_clear")
    assert data[0]["img_path"].endswith("Night-Sunny/VOC2007/JPEGImages/x1.jpg")
    assert data[0]["instances"] == [dict(ignore_flag=0, bbox=[1, 2, 8, 11], bbox_label=3)]
    (folder / "Annotations/x1.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"x1\.xml is no annotation"):
        DiverseWeatherDataset("night_clear", **options)
    with pytest.raises(FileNotFoundError, match="daytime_foggy"):
        DiverseWeatherDataset("day_fog", **options)
    with pytest.raises(ValueError, match="domain must be of day_clear"):
        DiverseWeatherDataset("sun")


def panoptic(tmp_path, images=None):
    from mmseg_domino.detection import DomainPanopticDataset

    (tmp_path / "seg").mkdir(exist_ok=True)
    number = np.full((20, 30), 7, np.int64)  # road
    number[5:10, 5:15] = 26 * 1000 + 300
    number[12:18, 20:28] = 24
    png = np.stack([number % 256, number // 256, number // 65536], 2).astype(np.uint8)
    Image.fromarray(png).save(tmp_path / "seg/a_panoptic.png")
    classes = DomainPanopticDataset.METAINFO["classes"]
    ids = {name: i + 5 for i, name in enumerate(sorted(classes))}
    data = dict(
        images=[dict(id="a", file_name="fog/a_gtFine_leftImg8bit.png", width=30, height=20)]
        if images is None else images,
        categories=[dict(id=i, name=name) for name, i in ids.items()],
        annotations=[dict(image_id="a", file_name="a_panoptic.png", segments_info=[
            dict(id=7, category_id=ids["road"]),
            dict(id=26300, category_id=ids["car"], iscrowd=0),
            dict(id=24, category_id=ids["person"], iscrowd=1),
            dict(id=99, category_id=ids["bus"], iscrowd=0),
        ])],
    )  # fmt: skip
    file = tmp_path / "panoptic.json"
    file.write_text(json.dumps(data))
    return DomainPanopticDataset(
        ann_file=str(file), data_prefix=dict(img=str(tmp_path), seg=str(tmp_path / "seg")),
        dataset_name="acdc", domains=("fog",), pipeline=[dict(type="LoadPanopticSegments")],
        rename=("_gtFine_leftImg8bit.png", "_leftImg8bit.png"),
    )  # fmt: skip


def test_panoptic_segments_are_instances_and_labels(tmp_path):
    data = panoptic(tmp_path)
    info = data.get_data_info(0)
    assert info["img_path"].endswith("fog/a_leftImg8bit.png")
    assert (info["dataset"], info["domain"]) == ("acdc", "fog")
    found = data.pipeline(dict(info, ori_shape=(20, 30)))
    classes = data.metainfo["classes"]
    assert [(classes[i["bbox_label"]], i["ignore_flag"]) for i in found["instances"]] == [
        ("car", 0), ("person", 1),
    ]  # fmt: skip
    assert found["instances"][0]["bbox"] == [5, 5, 15, 10]
    np.testing.assert_array_equal(found["gt_masks"].masks.sum((1, 2)), [50, 48])
    assert classes.index("road") >= len(data.metainfo["thing_classes"])
    assert (found["gt_seg_map"] == classes.index("road")).sum() == 20 * 30 - 98
    with pytest.raises(ValueError, match="no PNG of 40x30 pixels"):
        data.pipeline(dict(info, ori_shape=(30, 40)))
    with pytest.raises(ValueError, match="is of the image 'a'"):
        panoptic(tmp_path, images=[])
