import pytest
from mmengine.dataset import ConcatDataset, DefaultSampler
from mmseg.datasets import CityscapesDataset
from torch.utils.data import TensorDataset

from mmseg_domino.datasets import ACDCDataset, RemainingDataset
from mmseg_domino.datasets.remaining import group_keys
from mmseg_domino.utils.journal import Journal

from .trees import write_acdc, write_cityscapes

PIPELINE = [
    dict(type="LoadCheckedImage"),
    dict(type="LoadCheckedAnnotations"),
    dict(type="PackDominoInputs"),
]


def city(root, domain):
    return CityscapesDataset(
        data_root=root,
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=[dict(type="SetDomain", dataset="cityscapes", domain=domain), *PIPELINE],
    )


@pytest.fixture
def both(tmp_path):
    root = str(write_cityscapes(tmp_path / "cityscapes"))
    acdc = ACDCDataset(data_root=str(write_acdc(tmp_path / "acdc")), pipeline=PIPELINE)
    return ConcatDataset([city(root, "clear_day"), city(root, "fog_3"), acdc])


def test_keys_are_those_of_the_loaded_samples(both):
    loaded = [both[i]["data_samples"] for i in range(len(both))]
    assert list(group_keys(both)) == [(f"{s.dataset}/{s.domain}", s.img_path) for s in loaded]


def test_what_is_done_is_left_out(both, tmp_path):
    keys = list(group_keys(both))
    journal = Journal(tmp_path / "journal", "part0", {})
    done = [keys[0], keys[5], keys[-1]]
    for group, image in done:
        journal.append({"group": group, "image": image})
    rest = RemainingDataset(both, str(tmp_path / "journal"))
    samples = [rest[i]["data_samples"] for i in range(len(rest))]
    found = [(f"{s.dataset}/{s.domain}", s.img_path) for s in samples]
    assert found == [key for key in keys if key not in done]
    # The same file under another domain is not done.
    assert (keys[2][0], keys[0][1]) in found
    assert rest.metainfo == both.metainfo


def test_when_all_is_done_a_sampler_still_works(both, tmp_path):
    journal = Journal(tmp_path / "journal", "part0", {})
    for group, image in group_keys(both):
        journal.append({"group": group, "image": image})
    rest = RemainingDataset(both, str(tmp_path / "journal"))
    assert list(DefaultSampler(rest, shuffle=False)) == [0]


def test_without_a_journal_all_remains(both, tmp_path):
    assert len(RemainingDataset(both, str(tmp_path / "none"))) == len(both)


def test_an_unknown_kind_of_data_set_is_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot resume on a TensorDataset"):
        RemainingDataset(TensorDataset(), str(tmp_path))
