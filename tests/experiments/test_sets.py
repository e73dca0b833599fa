"""How sets are read; the project's own mean what their names say, at true size and in miniature."""

from pathlib import Path

import pytest

from mmseg_domino.datasets import leaf_datasets
from mmseg_domino.domain.sources import SOURCES
from mmseg_domino.engine import apply_domino, load_config
from mmseg_domino.experiments import load_set
from mmseg_domino.experiments.sets import SetError

CONFIGS = Path(__file__).parents[2] / "configs"
BASES = {"true size": "domino_vpd_cityscapes.py", "miniature": "domino_vpd_mini.py"}
SETS = ("injection", "embedding", "conditioning")
#: Width of the context and of the joint space.
WIDTHS = {"true size": (768, 768), "miniature": (96, 64)}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "large.py").write_text(
        "size = (100, 50)\nmodel = dict(width=768, depth=12, blocks=[dict(a=1), dict(a=2)])\n"
    )
    (tmp_path / "bases" / "small.py").write_text("size = (10, 5)\nmodel = dict(width=96)\n")

    def write(text, base='base = "bases/large.py"'):
        path = tmp_path / "colours.py"
        path.write_text(f"{base}\nconditions = {text}\n")
        return path

    return write


def test_a_condition_is_its_base_with_its_changes(write):
    path = write(
        "dict(plain=dict(), red={'model.width': 1, 'model.blocks.1.a': 3},"
        " blue=dict(model=dict(_delete_=True, colour='blue')))"
    )
    sets = load_set(path)
    assert (sets.name, list(sets.conditions)) == ("colours", ["plain", "red", "blue"])
    plain, red, blue = (sets.resolve(name).to_dict() for name in sets.conditions)
    model = {"width": 768, "depth": 12, "blocks": [{"a": 1}, {"a": 2}]}
    assert plain == {"size": (100, 50), "model": model}
    assert red["model"] == {"width": 1, "depth": 12, "blocks": [{"a": 1}, {"a": 3}]}
    assert blue["model"] == {"colour": "blue"}
    assert sets.resolve("plain").to_dict() == plain, "conditions do not change one another"


def test_a_set_is_not_taken_for_a_config(write):
    path = write("dict(red=dict(), blue=dict())")
    with pytest.raises(ValueError, match=r"is a set of configs; .*--condition: red, blue"):
        load_config(str(path))
    assert load_config(load_set(path).resolve("red")).model.depth == 12


def test_values_of_the_base_follow_the_base(write, tmp_path):
    path = write("dict(red=dict(model=dict(half='{{base.model.width}}'), crop=['{{base.size}}']))")
    large = load_set(path).resolve("red")
    small = load_set(path).rebased(tmp_path / "bases" / "small.py").resolve("red")
    assert (large.model.half, large.crop) == (768, [(100, 50)])
    assert (small.model.half, small.crop) == (96, [(10, 5)])


def test_a_condition_may_name_a_base_of_its_own(write):
    path = write("dict(large=dict(), small=dict(base='bases/small.py'))")
    assert load_set(path).resolve("small").model.width == 96
    assert "base" not in load_set(path).resolve("small")
    with pytest.raises(SetError, match="the conditions small compare bases"):
        load_set(path).rebased("bases/small.py")


def test_a_base_is_read_once(write, tmp_path):
    """Editing it afterwards does not mix the conditions of one sweep."""
    sets = load_set(write("dict(a=dict(), b=dict())"))
    sets.resolve("a")
    (tmp_path / "bases" / "large.py").write_text("size = 1\n")
    assert sets.resolve("b").size == (100, 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dict()", "expected conditions"),
        ("['red']", "expected conditions"),
        ("{'../red': dict()}", "cannot be called '../red'"),
        ("{'.red': dict()}", "cannot be called"),
        ("dict(red=3)", "red must be a dict of changes, got 3"),
    ],
)
def test_what_is_no_set_is_refused(write, text, message):
    with pytest.raises(SetError, match=message):
        load_set(write(text))


def test_what_cannot_be_resolved_is_refused(write):
    path = write("dict(red=dict(x='{{base.model.height}}'), blue=dict(base='nowhere.py'))")
    with pytest.raises(SetError, match=r"no condition 'green'; it has red, blue"):
        load_set(path).resolve("green")
    with pytest.raises(SetError, match=r"red refers to model\.height"):
        load_set(path).resolve("red")
    with pytest.raises(SetError, match=r"the base .*nowhere\.py does not exist"):
        load_set(path).resolve("blue")
    with pytest.raises(SetError, match=r"the base .*nowhere\.py does not exist"):
        load_set(write("dict(red=dict())", 'base = "nowhere.py"'))
    with pytest.raises(SetError, match="neither the set nor the condition red names a base"):
        load_set(write("dict(red=dict())", "")).resolve("red")


@pytest.fixture(scope="module", params=BASES)
def ablations(request):
    base = CONFIGS / BASES[request.param]
    sets = [load_set(CONFIGS / "ablation" / f"{name}.py") for name in SETS]
    loaded = {s.name: {n: s.rebased(base) for n in s.conditions} for s in sets}
    return loaded, WIDTHS[request.param]


def test_names_say_how_and_where_the_embedding_enters(ablations):
    found = {
        name: apply_domino(s.resolve(name)).model for name, s in ablations[0]["injection"].items()
    }
    for name, model in found.items():
        sign, _, place = name.partition("_")
        place, _, form = place.partition("-")
        attention, norm = model.backbone.injection, model.neck.injection
        assert attention == (sign if place in ("attention", "both") else "none")
        if place == "both" and sign == "concat":
            assert norm == "subtract"
        else:
            assert norm == (sign if place in ("norm", "both") else "none")
        assert model.neck.get("tied", False) == (form == "tied")
        assert model.backbone.attention.get("gate") is (False if form == "ungated" else None)
        if attention != "none":
            assert model.backbone.attention.space == "context"
        assert model.neck.space == "joint"
    signs = {n.partition("_")[0] for n in found}
    assert signs == {"add", "subtract", "concat", "none"}


def test_every_source_is_asked(ablations):
    joint = ablations[1][1]
    found = {name: apply_domino(s.resolve(name)) for name, s in ablations[0]["embedding"].items()}
    assert {c.domino.source for c in found.values()} == set(SOURCES)
    for config in found.values():
        assert config.domino.space == config.model.neck.space == "joint"
        assert config.model.neck.domain_channels == joint
        assert config.model.backbone.injection == "none"
    table = found["learned"].model.data_preprocessor.domain_table
    assert table.channels == joint
    assert table.init_store == found["learned"].domino.store


def test_designs_are_what_their_names_say(ablations):
    """Which layers, which embedding, which images."""
    for name, s in ablations[0]["conditioning"].items():
        config = apply_domino(s.resolve(name))
        backbone, words = config.model.backbone, name.split("-")
        assert (backbone.injection != "none") == (words[0] not in ("plain", "neck"))
        if words[0] in ("unet", "both"):
            assert backbone.norms.layers == "all"
            assert backbone.attention.injection == "none"
            space = "context" if "context" in words else "joint"
            assert backbone.norms.space == space
            widths = dict(zip(("context", "joint"), ablations[1], strict=True))
            assert backbone.domain_channels == widths[space]
        if words[0] in ("attention", "classwise"):
            assert "norms" not in backbone
            assert backbone.injection == "subtract"
            assert ("classwise" in backbone.attention) == (words[0] == "classwise")
        assert ("centre" in backbone) == ("centred" in words)
        neck = config.model.neck
        assert (neck.type == "DominoNorm") == (words[0] in ("neck", "both"))
        if neck.type == "DominoNorm":
            assert neck.neck.type == "FPN"
            assert neck.injection == ("none" if "none" in words else "subtract")
        for source in {"image", "soft"} & set(words):
            assert config.domino.source == source
        [images] = leaf_datasets(config.train_dataloader)
        pipeline = {step.type: step for step in images.pipeline}
        assert ("DrawWeather" in pipeline) == ("clear" not in words)
        attach = pipeline.get("LoadDomainEmbedding")
        assert (attach is None) == (words[0] == "plain" or name == "neck-none")
        if attach is not None:
            assert attach.get("drop", 0.0) == (0.5 if "drop" in words else 0.0)


def test_names_say_the_ratio():
    sets = load_set(CONFIGS / "ablation" / "ratio.py")
    for name in sets.conditions:
        config = sets.resolve(name)
        dataset = config.train_dataloader.dataset
        first = name.removeprefix("none_").split("-")[0]
        assert dataset.ratio == first.replace("to", ":")
        assert [step.ratio for step in dataset.get("schedule", [])] == (
            ["4:1"] if name == "1to0-4to1" else []
        )
        plain = config.model.neck.norm == config.model.neck.injection == "none"
        assert plain == name.startswith("none_")
        assert config.domino.weather is None, "the generated images show it"
