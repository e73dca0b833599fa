"""Every data set file and setting builds and loads from a small tree in the real layout."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_domino.datasets.muses import MUSES_TIMES, MUSES_WEATHERS
from mmseg_domino.datasets.remaining import group_keys

from .trees import write_acdc, write_cityscapes, write_pair

CONFIGS = Path(__file__).parents[2] / "configs"
SETTINGS = sorted(p.stem for p in (CONFIGS / "settings").glob("*.py"))
#: Those of detectors are in tests/detection.
DATA = sorted(
    p.stem for p in (CONFIGS / "_base_" / "datasets").glob("*.py")
    if not p.stem.endswith("_detection") and p.stem != "diverse_weather"
)  # fmt: skip
SIZE = (40, 64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder `data` with one small tree of each data set."""
    root = tmp_path_factory.mktemp("world") / "data"
    for split in ("train", "val", "test"):
        write_cityscapes(root / "cityscapes", split, 1, SIZE)
        write_acdc(root / "acdc", split=split, images=1, reference=True)
    city = root / "cityscapes"
    for beta in ("0.005", "0.01", "0.02"):
        stem = f"leftImg8bit_foggy/val/frankfurt/frankfurt_000000_000000_leftImg8bit_foggy_{beta}"
        write_pair(city / stem.replace(f"foggy_{beta}", f"foggy_beta_{beta}.png"), size=SIZE)
    dark = "night/GOPR0356/GOPR0356_frame_000321"
    write_pair(
        root / f"dark_zurich/rgb_anon/val/{dark}_rgb_anon.png",
        root / f"dark_zurich/gt/val/{dark}_gt_labelTrainIds.png",
    )
    write_pair(root / f"dark_zurich/rgb_anon/test/{dark}_rgb_anon.png")
    write_pair(
        root / "NighttimeDrivingTest/leftImg8bit/test/night/0_leftImg8bit.png",
        root / "NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/"
        "0_gtCoarse_labelTrainIds.png",
    )
    write_pair(
        root / "bdd100k/images/10k/val/a.jpg", root / "bdd100k/labels/sem_seg/masks/val/a.png"
    )
    for labels in ("labels", "v2.0/labels"):
        write_pair(
            root / "mapillary/validation/images/a.jpg",
            root / f"mapillary/validation/{labels}/a_labelTrainIds.png",
        )
    write_pair(root / "gta5/images/00001.png", root / "gta5/labels/00001_labelTrainIds.png",
               size=(600, 1100))  # fmt: skip
    write_pair(root / "synthia/RGB/0.png", root / "synthia/GT/LABELS/0_labelTrainIds.png",
               size=(600, 1100))  # fmt: skip
    write_pair(root / "urbansyn/rgb/rgb_0001.png", root / "urbansyn/ss/ss_0001.png",
               size=(600, 1100), classes=range(20))  # fmt: skip
    for below in (f"{s}/{w}/{t}/REC0001_frame_000001" for s in ("train", "val", "test")
                  for w in MUSES_WEATHERS for t in MUSES_TIMES):  # fmt: skip
        write_pair(root / f"muses/frame_camera/{below}_frame_camera.png",
                   root / f"muses/gt_semantic/{below}_gt_labelTrainIds.png")  # fmt: skip
    write_pair(root / "wilddash2/images/wd0.jpg", root / "wilddash2/labelTrainIds/wd0.png")
    write_pair(root / "folder/images/a/0.png", root / "folder/labels/a/0.png")
    write_pair(
        root / "synthetic/cityscapes/images/fog/0.png",
        root / "synthetic/cityscapes/labels/fog/0.png",
    )
    for condition, split in (("day", "train"), ("day", "val"), ("dusk", "val")):
        write_pair(
            root / f"camvid/img/{condition}/{split}/0.jpg",
            root / f"camvid/label/{condition}/{split}/0.png",
            classes=range(11),
        )
    return root


@pytest.fixture(autouse=True)
def _in_its_folder(data, monkeypatch):
    """Configs name data relative to the folder they are used in."""
    monkeypatch.chdir(data.parent)
    # MMEngine collects garbage with every data set that it builds, half a second each in here.
    monkeypatch.setattr("gc.collect", lambda *args: 0)


def load(dataset):
    return [dataset[i]["data_samples"] for i in range(len(dataset))]


def is_dataset(value):
    return isinstance(value, dict) and str(value.get("type", "")).endswith("Dataset")


@pytest.mark.parametrize("name", DATA)
def test_every_data_set_loads(name):
    if name == "cityscapes_c":
        pytest.importorskip("imagecorruptions", reason="needs the optional extra 'corruptions'")
    cfg = Config.fromfile(CONFIGS / "_base_" / "datasets" / f"{name}.py")
    found = [v for value in cfg.values() for v in (value if isinstance(value, list) else [value])]
    found = [value for value in found if is_dataset(value)]
    assert found
    if name == "cityscapes_c":
        assert len(found) == 75
        found = found[::20]
    for config in found:
        dataset = DATASETS.build(config)
        assert len(dataset) > 0
        if "pipeline" in config and "train" not in str(config.get("split", "")):
            for sample in load(dataset):
                assert sample.dataset
                assert sample.domain
                if sample.get("seg_map_path"):
                    assert sample.gt_sem_seg.shape == sample.ori_shape


@pytest.mark.parametrize("name", DATA)
def test_data_set_files_define_only_names_of_their_own(name):
    own = Config.fromfile(CONFIGS / "_base_" / "datasets" / f"{name}.py")
    for other in DATA:
        if other != name:
            names = Config.fromfile(CONFIGS / "_base_" / "datasets" / f"{other}.py")
            assert not set(own) & set(names)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_tests_all_its_data_sets_in_one_pass(name):
    cfg = Config.fromfile(CONFIGS / "settings" / f"{name}.py")
    test = DATASETS.build(cfg.test_dataloader.dataset)
    groups = {group for group, _ in group_keys(test)}
    assert not any("None" in group for group in groups)
    assert cfg.test_evaluator.type == cfg.val_evaluator.type == "DomainIoUMetric"
    source = cfg.test_evaluator.source
    assert source is None or source in groups
    first = test[0]["data_samples"]
    assert f"{first.dataset}/{first.domain}" in groups
    validated = {group for group, _ in group_keys(DATASETS.build(cfg.val_dataloader.dataset))}
    assert validated == {source} if source else len(validated) == 1


@pytest.mark.parametrize("name", [s for s in SETTINGS if "cityscapes_to" not in s])
def test_every_source_trains(name):
    cfg = Config.fromfile(CONFIGS / "settings" / f"{name}.py")
    train = DATASETS.build(cfg.train_dataloader.dataset)
    for sample in load(train):
        assert sample.domain
        assert sample.gt_sem_seg.shape == sample.img_shape


def test_cityscapes_to_acdc_is_what_it_says():
    cfg = Config.fromfile(CONFIGS / "settings" / "cityscapes_to_acdc.py")
    samples = load(DATASETS.build(cfg.test_dataloader.dataset))
    assert [(s.dataset, s.domain) for s in samples] == [
        ("cityscapes", "clear_day"),
        *(("acdc", c) for c in ("fog", "night", "rain", "snow")),
    ]
    train = load(DATASETS.build(cfg.train_dataloader.dataset))
    assert {(s.dataset, s.domain) for s in train} == {("cityscapes", "clear_day")}
    assert all("leftImg8bit/train" in s.img_path for s in train)
    assert cfg.test_dataloader.batch_size == 1


def test_one_acdc_base_serves_any_subset(tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        f"_base_ = {str(CONFIGS / '_base_/datasets/acdc.py')!r}\n"
        "test_dataloader = dict(dataset=dict(_base_.acdc_val, conditions=('night', 'rain')))\n"
    )
    dataset = DATASETS.build(Config.fromfile(child).test_dataloader.dataset)
    assert [s.domain for s in load(dataset)] == ["night", "rain"]
    cfg = Config.fromfile(CONFIGS / "settings" / "cityscapes_to_acdc.py")
    cfg.merge_from_dict({"test_dataloader.dataset.datasets.1.conditions": "snow"})
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert {group for group, _ in group_keys(dataset)} == {"cityscapes/clear_day", "acdc/snow"}


@pytest.mark.parametrize("model", ["segformer_mit-b0", "deeplabv3plus_r50-d8", "upernet_swin"])
def test_a_setting_stands_beside_any_model(model, tmp_path):
    child = tmp_path / "child.py"
    child.write_text(
        f"_base_ = ['mmseg::_base_/models/{model}.py',\n"
        f"          {str(CONFIGS / 'settings/cityscapes_to_acdc.py')!r},\n"
        "          'mmseg::_base_/default_runtime.py',\n"
        "          'mmseg::_base_/schedules/schedule_80k.py']\n"
    )
    cfg = Config.fromfile(child)
    assert cfg.model.type == "EncoderDecoder"
    assert cfg.test_evaluator.type == "DomainIoUMetric"


def test_all_views_of_test_time_augmentation_are_tagged(data):
    cfg = Config.fromfile(CONFIGS / "settings" / "cityscapes_to_acdc.py")
    config = cfg.test_dataloader.dataset.datasets[1]
    config.pipeline = cfg.tta_pipeline
    views = DATASETS.build(config)[0]["data_samples"]
    assert len(views) == 12
    assert {(v.dataset, v.domain) for v in views} == {("acdc", "fog")}
    for view in views:
        assert np.array(view.gt_sem_seg.data).max() <= 255


def test_bdd100k_by_attribute(data):
    path = data / "bdd100k/labels/bdd100k_labels_images_val.json"
    path.write_text(json.dumps([{"name": "a.jpg", "attributes": {"timeofday": "night"}}]))
    cfg = Config.fromfile(CONFIGS / "_base_" / "datasets" / "bdd100k.py")
    cfg.bdd100k_val.attributes_file = "labels/bdd100k_labels_images_val.json"
    assert DATASETS.build(cfg.bdd100k_val)[0]["data_samples"].domain == "night"


def test_trees_hold_what_the_layouts_say(data):
    assert Image.open(next(data.rglob("*_foggy_beta_0.02.png"))).size == SIZE[::-1]
