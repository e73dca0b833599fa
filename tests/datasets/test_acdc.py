import pytest
from mmengine.dataset import ConcatDataset
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from mmseg_domino.datasets.acdc import ACDC_CONDITIONS, ACDCDataset

from .trees import write_acdc, write_cityscapes

PIPELINE = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="PackDominoInputs"),
]


@pytest.fixture(scope="module")
def acdc(tmp_path_factory):
    root = tmp_path_factory.mktemp("acdc")
    write_acdc(root, split="val", images=2, reference=True)
    write_acdc(root, split="test", images=1)
    return str(root)


def test_every_sample_knows_its_condition(acdc):
    data = DATASETS.build(dict(type="ACDCDataset", data_root=acdc, pipeline=PIPELINE))
    samples = [data[i]["data_samples"] for i in range(len(data))]
    assert len(data) == 8
    for sample in samples:
        assert sample.dataset == "acdc"
        assert f"/rgb_anon/{sample.domain}/val/" in sample.img_path
        assert f"/gt/{sample.domain}/val/" in sample.seg_map_path
        assert sample.gt_sem_seg.shape == (24, 32)
    assert {s.domain for s in samples} == set(ACDC_CONDITIONS)


@pytest.mark.parametrize(("conditions", "count"), [("night", 2), (("fog", "snow"), 4)])
def test_a_subset_of_conditions(acdc, conditions, count):
    data = ACDCDataset(conditions=conditions, data_root=acdc)
    assert len(data) == count
    wanted = {conditions} if isinstance(conditions, str) else set(conditions)
    assert {data.get_data_info(i)["domain"] for i in range(count)} == wanted


def test_reference_images_are_clear_and_labelled_where_they_are(acdc, tmp_path):
    data = ACDCDataset(reference=True, data_root=acdc)
    infos = [data.get_data_info(i) for i in range(len(data))]
    assert len(infos) == 8
    assert {(i["dataset"], i["domain"]) for i in infos} == {("acdc_reference", "clear_day")}
    assert all("_rgb_ref_anon" in i["img_path"] for i in infos)
    labels = [i["seg_map_path"] for i in infos]
    assert [label is None for label in labels] == [False, True] * 4
    chosen = ACDCDataset(reference=True, labelled_only=True, data_root=acdc, pipeline=PIPELINE)
    assert len(chosen) == 4
    assert chosen[0]["data_samples"].gt_sem_seg.shape == (24, 32)
    write_acdc(tmp_path, split="test", reference=True)
    for label in (tmp_path / "gt").rglob("*.png"):
        label.unlink()
    with pytest.raises(FileNotFoundError, match=r"none of the images .*_gt_ref_labelTrainIds"):
        ACDCDataset(split="test", reference=True, labelled_only=True, data_root=str(tmp_path))


def test_the_test_split_is_for_prediction(acdc):
    with pytest.raises(ValueError, match="has no label"):
        ACDCDataset(split="test", data_root=acdc, pipeline=PIPELINE)[0]
    skip = [PIPELINE[0], dict(type="LoadCheckedAnnotations", unlabelled="skip"), PIPELINE[2]]
    sample = ACDCDataset(split="test", data_root=acdc, pipeline=skip, test_mode=True)[0]
    assert sample["data_samples"].domain == "fog"
    assert "gt_sem_seg" not in sample["data_samples"]


def test_concatenates_with_cityscapes(acdc, tmp_path):
    tags = [dict(type="SetDomain", dataset="cityscapes", domain="clear_day"), *PIPELINE]
    city = CityscapesDataset(
        data_root=str(write_cityscapes(tmp_path)),
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=tags,
    )
    both = ConcatDataset([city, ACDCDataset(data_root=acdc, pipeline=PIPELINE)])
    names = [(s.dataset, s.domain) for s in (both[i]["data_samples"] for i in range(len(both)))]
    assert names[:2] == [("cityscapes", "clear_day")] * 2
    assert names[2:4] == [("acdc", "fog")] * 2


def test_a_missing_condition_is_named(tmp_path):
    write_acdc(tmp_path, conditions=("fog",))
    with pytest.raises(FileNotFoundError, match=r"ACDC night: .*night/val is missing"):
        ACDCDataset(data_root=str(tmp_path))


def test_an_empty_condition_is_named(tmp_path):
    write_acdc(tmp_path, conditions=("fog",))
    (tmp_path / "rgb_anon/night/val").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"ACDC night: .* holds no image named"):
        ACDCDataset(conditions=("fog", "night"), data_root=str(tmp_path))


@pytest.mark.parametrize("conditions", [("fog", "mist"), (), ("fog", "fog")])
def test_wrong_conditions_are_refused(conditions):
    with pytest.raises(ValueError, match="conditions must be some of fog, night, rain, snow"):
        ACDCDataset(conditions=conditions)


def test_a_wrong_split_is_refused():
    with pytest.raises(ValueError, match="split must be one of train, val, test"):
        ACDCDataset(split="minival")
