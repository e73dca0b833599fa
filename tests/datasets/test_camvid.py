import numpy as np
import pytest
from PIL import Image

from mmseg_domino.datasets import CamVidDataset

from .trees import write_pair

PIPELINE = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations", num_classes=11),
    dict(type="PackDominoInputs"),
]


@pytest.fixture
def tree(tmp_path):
    for c, condition in enumerate(("day", "dusk")):
        for i in range(2):
            stem = f"{condition}/val/0001TP_{i:06}"
            write_pair(
                tmp_path / "img" / f"{stem}.jpg",
                tmp_path / "label" / f"{stem}.png",
                seed=10 * c + i,
                classes=range(12),
            )
    return tmp_path


def without_255(tree):
    for path in (tree / "label").rglob("*.png"):
        label = np.array(Image.open(path))
        label[label == 255] = 11
        Image.fromarray(label).save(path)


def test_light_is_the_domain_and_void_is_ignored(tree):
    without_255(tree)
    data = CamVidDataset(data_root=str(tree), pipeline=PIPELINE)
    samples = [data[i]["data_samples"] for i in range(len(data))]
    assert [(s.dataset, s.domain) for s in samples] == [("camvid", "day")] * 2 + [
        ("camvid", "dusk")
    ] * 2
    for sample in samples:
        raw = np.array(Image.open(sample.seg_map_path))
        expected = np.where(raw == 11, 255, raw)
        assert (raw == 11).any()
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), expected)


def test_a_subset_of_the_classes_keeps_void_ignored(tree):
    without_255(tree)
    data = CamVidDataset(
        data_root=str(tree), pipeline=PIPELINE, metainfo=dict(classes=("road", "sky"))
    )
    label = data[0]["data_samples"].gt_sem_seg.data
    assert set(label.unique().tolist()) == {0, 1, 255}


def test_a_missing_condition_is_named(tree):
    with pytest.raises(FileNotFoundError, match=r"CamVid night: .*img/night/val is missing"):
        CamVidDataset(conditions="night", data_root=str(tree))
    with pytest.raises(ValueError, match="must name at least one"):
        CamVidDataset(conditions=(), data_root=str(tree))


def test_real_frames(shared):
    data = CamVidDataset(data_root=str(shared / "camvid"), pipeline=PIPELINE)
    assert len(data) == 57 + 62
    domains = [data.get_data_info(i)["domain"] for i in range(len(data))]
    assert (domains.count("day"), domains.count("dusk")) == (57, 62)
    train = CamVidDataset("day", "train", data_root=str(shared / "camvid"), pipeline=PIPELINE)
    assert len(train) == 153
    sample = data[-1]["data_samples"]
    assert sample.ori_shape == (360, 480)
    assert set(sample.gt_sem_seg.data.unique().tolist()) <= {*range(11), 255}
