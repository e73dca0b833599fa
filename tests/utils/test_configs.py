"""Walking through configs."""

from mmengine.config import ConfigDict

from mmseg_domino.utils.configs import dictionaries


def test_every_dictionary_is_found_outer_ones_first():
    config = ConfigDict(type="A", parts=[dict(type="B", inner=dict(type="C")), (dict(type="D"),)])
    assert [node["type"] for node in dictionaries(config)] == ["A", "B", "C", "D"]
    for node in dictionaries(config):
        node["type"] = node["type"].lower()
    assert config.parts[0].inner.type == "c"
    assert list(dictionaries(None)) == list(dictionaries("text")) == []
