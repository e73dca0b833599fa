"""The ablation sets mean what their names say, at true size and in miniature."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmseg_domino.domain.sources import SOURCES
from mmseg_domino.engine import apply_domino
from mmseg_domino.experiments import find_configs, plan_runs

CONFIGS = Path(__file__).parents[2] / "configs"
BASES = {"true size": "domino_vpd_cityscapes.py", "miniature": "domino_vpd_mini.py"}
#: Width of the context and of the joint space.
WIDTHS = {"true size": (768, 768), "miniature": (96, 64)}


@pytest.fixture(scope="module", params=BASES)
def sets(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    # The base with its own bases resolved: they are read once, not once a child.
    base = folder / "base.py"
    config = Config.fromfile(CONFIGS / BASES[request.param], format_python_code=False)
    base.write_text(config.pretty_text)
    sources = [CONFIGS / "ablation" / name for name in ("injection", "embedding")]
    runs = plan_runs(sources, [0], folder, base)
    loaded = {(r.group, r.name): apply_domino(Config.fromfile(r.config)) for r in runs}
    return loaded, WIDTHS[request.param]


def test_names_say_how_and_where_the_embedding_enters(sets):
    found = {k[1]: c.model for k, c in sets[0].items() if k[0] == "injection"}
    for name, model in found.items():
        sign, _, place = name.partition("_")
        attention, norm = model.backbone.injection, model.neck.injection
        assert attention == (sign if place in ("attention", "both") else "none")
        if place == "both" and sign == "concat":
            assert norm == "subtract"
        else:
            assert norm == (sign if place in ("norm", "norm-tied", "both") else "none")
        assert model.neck.get("tied", False) == name.endswith("tied")
    signs = {n.partition("_")[0] for n in found}
    assert signs == {"add", "subtract", "concat", "none"}


def test_every_source_is_asked(sets):
    configs, (context, joint) = sets
    found = {k[1]: c for k, c in configs.items() if k[0] == "embedding"}
    assert {c.domino.source for c in found.values()} == set(SOURCES)
    for name, config in found.items():
        in_joint = name.startswith("joint-")
        assert config.domino.space == ("joint" if in_joint else "context")
        assert config.model.neck.domain_channels == (joint if in_joint else context)
        if in_joint:
            assert config.model.backbone.injection == "none", "made for cross-attention: context"
    table = found["learned"].model.data_preprocessor.domain_table
    assert table.channels == context
    assert table.init_store == found["learned"].domino.store


def test_children_are_small_and_stand_on_the_flagship():
    files = find_configs([CONFIGS / "ablation" / n for n in ("injection", "embedding")])
    for file in files.values():
        text = file.read_text()
        assert len(text.splitlines()) <= 22, file
        assert '_base_ = "../../domino_vpd_cityscapes.py"' in text
