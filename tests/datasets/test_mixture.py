import pickle

import pytest
from mmseg.registry import DATASETS

from mmseg_domino.datasets.mixture import RatioConcatDataset, SampleIndex, leaf_sample

from . import memory  # noqa: F401  registers the data set


def listed(tag="real", size=3, **kwargs):
    return dict(type="ListedDataset", tag=tag, size=size, pipeline=[dict(type="AddRandom")],
                **kwargs)  # fmt: skip


def test_an_index_remembers_its_draw_through_wrappers_and_processes():
    index = SampleIndex(12, draw=99, seed=5)
    assert index == 12
    assert isinstance(index - 3, SampleIndex)
    assert (int(index - 3), (index - 3).draw, (index - 3).seed) == (9, 99, 5)
    assert (int(index % 5), (index % 5).draw) == (2, 99)
    back = pickle.loads(pickle.dumps(index))
    assert (int(back), back.draw, back.seed) == (12, 99, 5)


def test_it_concatenates_in_order_and_states_the_ratio():
    mixture = DATASETS.build(
        dict(
            type="RatioConcatDataset",
            datasets=[listed(), listed("synthetic", 2)],
            ratio="8:2",
            schedule=[dict(begin=100, ratio="1:1")],
        )
    )
    assert len(mixture) == 5
    assert mixture.ratio_schedule == ((0, (4, 1)), (100, (1, 1)))
    assert mixture[SampleIndex(4, 0, 0)]["name"] == "synthetic1"
    assert mixture.metainfo["classes"] == ("a", "b")


def test_a_leaf_is_found_inside_wrappers():
    repeated = dict(type="RepeatDataset", dataset=listed("x", 2), times=3)
    nested = RatioConcatDataset([listed(), repeated], ratio="1:1")
    leaf, index = leaf_sample(nested, 3 + 5)
    assert (leaf.tag, index) == ("x", 1)


@pytest.mark.parametrize("ratio", ["4:1:1", "1:2:3"])
def test_as_many_terms_as_data_sets(ratio):
    with pytest.raises(ValueError, match="3 terms for 2 data sets"):
        RatioConcatDataset([listed(), listed("s")], ratio=ratio)


def test_a_schedule_that_does_not_ascend_is_refused():
    schedule = [dict(begin=50, ratio="1:1"), dict(begin=20, ratio="4:1")]
    with pytest.raises(ValueError, match="ascend"):
        RatioConcatDataset([listed(), listed("s")], schedule=schedule)
    with pytest.raises(ValueError, match="above 0"):
        RatioConcatDataset([listed(), listed("s")], schedule=[dict(begin=0, ratio="1:1")])


@pytest.mark.parametrize("serialize", [True, False])
def test_an_empty_source_is_refused(serialize):
    empty = listed("s", 0, data_root="made", serialize_data=serialize)
    with pytest.raises(ValueError, match=r"ListedDataset made holds no image"):
        RatioConcatDataset([listed(), empty], ratio="4:1")


def test_reading_by_plain_index_warns_that_the_ratio_is_not_applied(monkeypatch):
    said = []
    monkeypatch.setattr(
        "mmseg_domino.datasets.mixture.print_log", lambda text, **kwargs: said.append(text)
    )
    mixture = RatioConcatDataset([listed(), listed("s")])
    assert mixture[SampleIndex(1, 0, 0)]["name"] == "real1"
    assert not said
    assert mixture[1]["name"] == mixture[1]["name"] == "real1"
    assert len(said) == 1
    assert "ResumableInfiniteSampler" in said[0]
