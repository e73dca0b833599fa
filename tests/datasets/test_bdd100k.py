import json

import pytest

from mmseg_domino.datasets import BDD100KDomainDataset

from .trees import write_pair

PREFIX = dict(img_path="images/10k/val", seg_map_path="labels/sem_seg/masks/val")
FRAMES = [
    {"name": "a.jpg", "attributes": {"timeofday": "dawn/dusk", "weather": "partly cloudy"}},
    {"name": "b.jpg", "attributes": {"timeofday": "night", "weather": "undefined"}},
]


@pytest.fixture
def tree(tmp_path):
    for name in "abc":
        write_pair(
            tmp_path / PREFIX["img_path"] / f"{name}.jpg",
            tmp_path / PREFIX["seg_map_path"] / f"{name}.png",
        )
    (tmp_path / "labels/attributes.json").write_text(json.dumps(FRAMES))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("domain_by", "domains"),
    [
        ("timeofday", ["dawn_dusk", "night", "unknown"]),
        ("weather", ["partly_cloudy", "unknown", "unknown"]),
        (
            ("timeofday", "weather"),
            ["dawn_dusk-partly_cloudy", "night-unknown", "unknown-unknown"],
        ),
    ],
)
def test_domains_by_attribute(tree, domain_by, domains):
    data = BDD100KDomainDataset(
        "labels/attributes.json", domain_by, data_root=tree, data_prefix=PREFIX
    )
    infos = [data.get_data_info(i) for i in range(3)]
    assert [info["domain"] for info in infos] == domains
    assert {info["dataset"] for info in infos} == {"bdd100k"}


def test_without_attributes_there_is_one_domain(tree):
    data = BDD100KDomainDataset(data_root=tree, data_prefix=PREFIX)
    assert {data.get_data_info(i)["domain"] for i in range(3)} == {"all"}


def test_wrong_attributes_are_named(tree):
    with pytest.raises(FileNotFoundError, match=r"none.json is missing.*attributes_file=None"):
        BDD100KDomainDataset("labels/none.json", data_root=tree, data_prefix=PREFIX)
    with pytest.raises(ValueError, match="domain_by must be of timeofday, weather, scene"):
        BDD100KDomainDataset(domain_by="season", data_root=tree, data_prefix=PREFIX)


@pytest.mark.parametrize("content", ["{}x", '{"name": 1}', '[{"name": "a.jpg"}]'])
def test_a_file_that_is_no_label_list_is_named(tree, content):
    with open(f"{tree}/labels/wrong.json", "w") as file:
        file.write(content)
    with pytest.raises(ValueError, match=r"wrong.json is not a BDD100K label file"):
        BDD100KDomainDataset("labels/wrong.json", data_root=tree, data_prefix=PREFIX)
