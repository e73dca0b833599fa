import pytest
from mmengine.config import Config

from mmseg_domino.experiments import SetError, find_configs, plan_runs, rebase
from mmseg_domino.experiments.plan import PlannedRun, parse_seed_folder, read_plan, write_plan


@pytest.fixture
def sets(tmp_path):
    folder = tmp_path / "colours"
    folder.mkdir()
    (tmp_path / "large.py").write_text("size = 100\nmodel = dict(width=768, depth=12)\n")
    (tmp_path / "small.py").write_text("size = 10\nmodel = dict(width=96, depth=2)\n")
    for name in ("red", "blue"):
        (folder / f"{name}.py").write_text(
            f'"""{name}"""\n\n_base_ = (\n    "../large.py"\n)\n'
            f"model = dict(colour={name!r}, half=_base_.model.width // 2)\n"
        )
    (folder / "_shared.py").write_text("x = 1\n")
    return folder


def test_runs_are_planned_seed_by_seed(sets, tmp_path):
    runs = plan_runs([sets], [3, 1], tmp_path / "w")
    assert [(r.name, r.seed) for r in runs] == [("blue", 3), ("red", 3), ("blue", 1), ("red", 1)]
    assert runs[0].folder == "colours/blue/seed3"
    assert runs[0].config == sets / "blue.py"


def test_another_base_changes_nothing_else(sets, tmp_path):
    large, small = (
        Config.fromfile(plan_runs([sets / "red.py"], [0], tmp_path / "w", base)[0].config)
        for base in (None, tmp_path / "small.py")
    )
    assert large.to_dict() == {
        "size": 100, "model": {"width": 768, "depth": 12, "colour": "red", "half": 384},
    }  # fmt: skip
    assert small.to_dict() == {
        "size": 10, "model": {"width": 96, "depth": 2, "colour": "red", "half": 48},
    }  # fmt: skip


def test_a_config_without_one_base_cannot_be_rebased(tmp_path):
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text("_base_ = ['none.py', 'none.py']\n")
    with pytest.raises(SetError, match="has no `_base_`"):
        rebase(tmp_path / "none.py", "base.py")
    with pytest.raises(SetError, match="has 2 bases"):
        rebase(tmp_path / "two.py", "base.py")


def test_a_set_that_compares_bases_keeps_them(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("large", "small"):
        (tmp_path / "set" / f"{name}.py").write_text(f"_base_ = '../{name}.py'\n")
    (tmp_path / "base.py").write_text("")
    with pytest.raises(SetError, match="set: large and small differ in their base alone"):
        plan_runs([tmp_path / "set"], [0], tmp_path / "work", tmp_path / "base.py")


def test_what_cannot_be_planned_is_refused(sets, tmp_path):
    with pytest.raises(SetError, match="does not exist"):
        find_configs([tmp_path / "nowhere"])
    with pytest.raises(SetError, match="holds no config"):
        (tmp_path / "empty").mkdir()
        find_configs([tmp_path / "empty"])
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(SetError, match="seeds must be different"):
            plan_runs([sets], seeds, tmp_path / "w")
    with pytest.raises(SetError, match=r"base .* does not exist"):
        plan_runs([sets], [0], tmp_path / "w", tmp_path / "nowhere.py")
    twin = tmp_path / "other" / "colours"
    twin.mkdir(parents=True)
    (twin / "red.py").write_text("x = 1\n")
    with pytest.raises(SetError, match="would share the work folder colours/red"):
        find_configs([sets, twin])


def test_a_plan_grows_and_is_read_back(tmp_path):
    assert read_plan(tmp_path) == []
    write_plan(tmp_path, [PlannedRun("s", "a", tmp_path, 0)])
    write_plan(tmp_path, [PlannedRun("s", "a", tmp_path, 0), PlannedRun("s", "b", tmp_path, 0)])
    assert read_plan(tmp_path) == [("s", "a", 0), ("s", "b", 0)]
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(SetError, match="is damaged"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("seed3", (None, 3)), ("vpd_seed12", ("vpd", 12)), ("vpd-seed_2", ("vpd", 2)), ("vpd", None),
     ("linseed3x", None), ("reseed3", None)],
)  # fmt: skip
def test_seeds_in_folder_names(folder, expected):
    assert parse_seed_folder(folder) == expected
