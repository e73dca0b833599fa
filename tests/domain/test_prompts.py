import json

import pytest

from mmseg_domino.domain import list_prompt_banks, load_prompt_bank
from mmseg_domino.domain.prompts import cut_prompts


@pytest.mark.parametrize("name", list_prompt_banks())
def test_every_bank_of_the_package_is_well_made(name):
    bank = load_prompt_bank(name)
    assert bank.name == name
    assert bank.description
    assert len(set(bank.keys)) == len(bank) >= 2
    assert len(bank.templates) >= 3
    for domain in bank.domains:
        assert len(domain.synonyms) >= 3
        assert len(domain.prompts) == len(domain.synonyms) * len(bank.templates)
        assert len(set(domain.prompts)) == len(domain.prompts)
        assert not any("{" in prompt for prompt in domain.prompts)


def test_the_banks_the_documents_name_are_there():
    names = {"acdc", "weather", "time_of_day", "driving", "sim2real", "sensor", "style"}
    assert names <= set(list_prompt_banks())
    assert load_prompt_bank("acdc").keys == ("clear_day", "fog", "night", "rain", "snow")


def test_driving_is_the_product_of_weather_and_time_of_day():
    weather, time = load_prompt_bank("weather"), load_prompt_bank("time_of_day")
    driving = load_prompt_bank("driving")
    assert driving.keys == tuple(f"{w}_{t}" for w in weather.keys for t in time.keys)
    fog_night = next(d for d in driving.domains if d.key == "fog_night")
    assert "a photo taken in dense fog at night" in fog_night.prompts


def _write(path, **content):
    path.write_text(json.dumps(content))
    return path


def test_own_bank_from_json_and_product_with_a_built_in_one(tmp_path):
    templates = ["a photo taken by {domain}"]
    domains = {"phone": ["a phone"], "drone": ["a drone"]}
    own = load_prompt_bank(_write(tmp_path / "cam.json", templates=templates, domains=domains))
    assert own.domains[1].prompts == ("a photo taken by a drone",)
    product = load_prompt_bank(
        _write(
            tmp_path / "both.json",
            templates=["a photo by {cam} {time_of_day}"],
            product=["cam", "time_of_day"],
        )
    )
    assert product.keys[0] == "phone_dawn"
    assert "a photo by a drone at dusk" in product.domains[6].prompts


def test_hash_changes_with_the_prompts_and_not_with_the_layout(tmp_path):
    domains = {"a": ["x"], "b": ["y"]}
    base = _write(tmp_path / "base.json", templates=["{domain}"], domains=domains)
    named = _write(tmp_path / "n.json", description="d", domains=domains, templates=["{domain}"])
    other = _write(tmp_path / "other.json", templates=["{domain}!"], domains=domains)
    order = _write(tmp_path / "o.json", templates=["{domain}"], domains={"b": ["y"], "a": ["x"]})
    hashes = [load_prompt_bank(path).sha256 for path in (base, named, other, order)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_unknown_bank_lists_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"acdc, driving.*weather"):
        load_prompt_bank("acdd")
    with pytest.raises(ValueError, match="no prompt bank file"):
        load_prompt_bank(tmp_path / "gone.yaml")


TWO = {"a": ["x"], "b": ["y"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"templates": ["{domain}"]}, "exactly one"),
        ({"templates": ["{domain}"], "domains": TWO, "product": ["a", "b"]}, "exactly one"),
        ({"templates": [], "domains": TWO}, "`templates` must be a list"),
        ({"templates": ["no field"], "domains": TWO}, r"must name \{domain\}"),
        ({"templates": ["{domain} {x}"], "domains": TWO}, r"must name \{domain\}"),
        ({"templates": ["{domain"], "domains": TWO}, "template '{domain'"),
        ({"templates": ["{domain}"], "domains": {"a": ["x"]}}, "two or more"),
        ({"templates": ["{domain}"], "domains": {"A b": ["x"], "c": ["y"]}}, "lower-case"),
        ({"templates": ["{domain}"], "domains": {"a": [False], "c": ["y"]}}, "quote it"),
        ({"templates": ["{domain}"], "domains": TWO, "extra": 1}, "unknown entries"),
        ({"templates": ["{a} {b}"], "product": ["nowhere", "weather"]}, "'nowhere'"),
        ({"templates": ["{weather}"], "product": ["weather"]}, "two or more"),
        ({"templates": ["{a} {b}"], "product": ["../a", "weather"]}, "leaves its folder"),
    ],
)
def test_malformed_banks_name_the_file_and_the_fault(tmp_path, content, message):
    path = _write(tmp_path / "bad.json", **content)
    with pytest.raises(ValueError, match=message) as caught:
        load_prompt_bank(path)
    assert "bad.json" in str(caught.value)


def test_broken_yaml_is_said_to_be(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("templates: [")
    with pytest.raises(ValueError, match=r"bad\.yaml cannot be read: "):
        load_prompt_bank(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_byte_order_mark_is_no_content(tmp_path, encoding, suffix):
    path = tmp_path / f"bank.{suffix}"
    path.write_text(json.dumps({"templates": ["{domain}"], "domains": TWO}), encoding=encoding)
    assert load_prompt_bank(path).keys == ("a", "b")


def test_a_domain_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "bank.yaml"
    path.write_text("templates: ['{domain}']\ndomains:\n  a: [x]\n  b: [y]\n  a: [z]\n")
    with pytest.raises(ValueError, match=r"bank\.yaml.*'a' stands twice"):
        load_prompt_bank(path)


@pytest.mark.parametrize("words", [1, 5, 6, 7, 8, 20])
def test_prompts_beyond_a_length_are_found(words):
    from open_clip import SimpleTokenizer

    # "fog" is one token; two more are start and end.
    prompt = " ".join(["fog"] * words)
    found = cut_prompts(SimpleTokenizer(), ["rain", prompt], 8)
    assert found == ([prompt] if words > 6 else [])
