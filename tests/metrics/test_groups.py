import pickle

import pytest

from mmseg_domino.metrics import GroupKey


def test_it_is_the_text_and_its_parts():
    key = GroupKey("acdc/fog")
    assert key == "acdc/fog" == GroupKey.of("acdc", "fog")
    assert {key: 1}["acdc/fog"] == 1
    assert (key.dataset, key.domain) == ("acdc", "fog")
    assert pickle.loads(pickle.dumps(key)).domain == "fog"


@pytest.mark.parametrize("key", ["acdc", "acdc/fog/val", "", None, 3, "acdc/", "/fog"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match=r"expected 'dataset/domain'|must be a name"):
        GroupKey(key)


@pytest.mark.parametrize(
    ("dataset", "domain", "message"),
    [
        ("acdc", "rain/heavy", r"domain must not contain a slash.*'rain_heavy' instead"),
        ("acdc", "rain\\heavy", "domain must not contain a slash"),
        ("..", "fog", "dataset must be a name"),
        ("acdc", "..", "domain must be a name"),
        ("acdc", "fog\n", "domain must be printable"),
        ("acdc", " fog", "domain must be printable"),
        ("targets", "fog", "dataset must not be 'targets'"),
        (None, "fog", "dataset must be a name"),
    ],
)
def test_names_that_cannot_be_filed_under_are_refused(dataset, domain, message):
    with pytest.raises(ValueError, match=message):
        GroupKey.of(dataset, domain)
