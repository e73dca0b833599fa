from pathlib import Path

import pytest

from mmseg_domino.datasets import FolderDataset

from .trees import write_pair

PIPELINE = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations", unlabelled="skip"),
    dict(type="PackDominoInputs"),
]


@pytest.fixture
def tree(tmp_path):
    for place in ("fog/a", "fog/b", "night/a"):
        write_pair(tmp_path / f"images/{place}/0.jpg", tmp_path / f"labels/{place}/0_train.png")
    return str(tmp_path)


def test_pairs_by_name(tree):
    data = FolderDataset(
        "mine", data_root=tree, img_suffix=".jpg", seg_map_suffix="_train.png", pipeline=PIPELINE
    )
    sample = data[0]["data_samples"]
    assert (len(data), sample.dataset, sample.domain) == (3, "mine", "all")
    assert sample.gt_sem_seg.shape == (24, 32)
    assert data.metainfo["classes"][0] == "road"


@pytest.mark.parametrize(
    ("level", "domains"), [(0, ["fog", "fog", "night"]), (-1, ["a", "b", "a"])]
)
def test_domains_from_folders(tree, level, domains):
    data = FolderDataset(domain=None, domain_level=level, data_root=tree, img_suffix=".jpg")
    assert [data.get_data_info(i)["domain"] for i in range(3)] == domains


def test_an_image_outside_all_folders_is_named(tree):
    with pytest.raises(ValueError, match=r"fog/a/0.jpg lies in no folder at domain_level=2"):
        FolderDataset(domain=None, domain_level=2, data_root=tree, img_suffix=".jpg")


def test_without_labels_it_is_for_prediction(tree):
    data = FolderDataset(
        data_root=tree, img_suffix=".jpg", data_prefix=dict(img_path="images"), pipeline=PIPELINE
    )
    assert "gt_sem_seg" not in data[0]["data_samples"]


def test_other_classes(tree):
    data = FolderDataset(
        data_root=tree, img_suffix=".jpg", metainfo=dict(classes=("a", "b"), palette=[[0] * 3] * 2)
    )
    assert data.metainfo["classes"] == ("a", "b")
    assert data.get_data_info(0)["label_map"] is None


def test_an_empty_folder_is_named(tree):
    with pytest.raises(FileNotFoundError, match=r"images holds no image named \*.bmp"):
        FolderDataset(data_root=tree, img_suffix=".bmp")


@pytest.mark.parametrize("names", [dict(domain="rain/heavy"), dict(dataset_name="my/data")])
def test_names_that_cannot_be_filed_under_are_refused_at_once(tree, names):
    with pytest.raises(ValueError, match="must not contain a slash"):
        FolderDataset(data_root=tree, img_suffix=".jpg", **names)


def test_excluded_and_hidden_images_are_left_out(tmp_path):
    for name in ("1", "2", ".ipynb_checkpoints/1-checkpoint", "._1"):
        write_pair(tmp_path / f"images/{name}.png", tmp_path / f"labels/{name}.png")
    data = FolderDataset(data_root=str(tmp_path), exclude=["2"])
    assert [Path(data.get_data_info(i)["img_path"]).name for i in range(len(data))] == ["1.png"]
