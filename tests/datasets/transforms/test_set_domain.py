import pytest

from mmseg_domino.datasets import SetDomain


def test_tags_a_sample():
    assert SetDomain("cityscapes", "clear_day")({}) == {
        "dataset": "cityscapes",
        "domain": "clear_day",
    }


def test_leaves_what_it_is_not_given():
    sample = {"dataset": "acdc", "domain": "fog"}
    assert SetDomain(dataset="acdc_mini")(sample) == {"dataset": "acdc_mini", "domain": "fog"}


@pytest.mark.parametrize("arguments", [{"dataset": "a/b"}, {"domain": ""}])
def test_refuses_names_that_would_break_group_keys(arguments):
    with pytest.raises(ValueError, match=r"must be a name|must not contain a slash"):
        SetDomain(**arguments)


def test_refuses_to_do_nothing():
    with pytest.raises(ValueError, match="got neither"):
        SetDomain()
