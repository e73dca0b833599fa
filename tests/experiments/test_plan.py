import pytest

from mmseg_domino.experiments import plan_runs
from mmseg_domino.experiments.plan import PlannedRun, parse_seed_folder, read_plan, write_plan
from mmseg_domino.experiments.sets import SetError


@pytest.fixture
def colours(tmp_path):
    (tmp_path / "large.py").write_text("size = 100\n")
    path = tmp_path / "colours.py"
    path.write_text("base = 'large.py'\nconditions = dict(red=dict(x=1), blue=dict(x=2))\n")
    return path


def test_runs_are_planned_seed_by_seed(colours):
    runs = plan_runs([colours], [3, 1])
    assert [(r.name, r.seed) for r in runs] == [("red", 3), ("blue", 3), ("red", 1), ("blue", 1)]
    assert runs[0].folder == "colours/red/seed3"
    assert runs[3].resolve().to_dict() == {"size": 100, "x": 2, "randomness": {"seed": 1}}


def test_planning_writes_nothing(colours, tmp_path):
    (tmp_path / "small.py").write_text("size = 10\n")
    before = sorted(tmp_path.rglob("*"))
    plan_runs([colours], [0, 1], tmp_path / "small.py")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plain_config_is_a_set_of_one(tmp_path):
    path = tmp_path / "mine" / "model.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    (run,) = plan_runs([path], [0])
    assert run.folder == "mine/model/seed0"
    assert run.resolve().x == 1
    with pytest.raises(SetError, match="is a config and no set"):
        plan_runs([path], [0], path)


def test_what_cannot_be_planned_is_refused(colours, tmp_path):
    with pytest.raises(SetError, match="does not exist"):
        plan_runs([tmp_path / "nowhere.py"], [0])
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(SetError, match="seeds must be different"):
            plan_runs([colours], seeds)
    with pytest.raises(SetError, match=r"base .* does not exist"):
        plan_runs([colours], [0], tmp_path / "nowhere.py")
    twin = tmp_path / "other" / "colours.py"
    twin.parent.mkdir()
    twin.write_text("base = '../large.py'\nconditions = dict(red=dict())\n")
    with pytest.raises(SetError, match="would share the work folder colours/red"):
        plan_runs([colours, twin], [0])


def test_a_plan_grows_and_is_read_back(tmp_path):
    assert read_plan(tmp_path) == []
    write_plan(tmp_path, [PlannedRun("s", "a", 0)])
    write_plan(tmp_path, [PlannedRun("s", "a", 0), PlannedRun("s", "b", 0)])
    assert [(r.group, r.name, r.seed) for r in read_plan(tmp_path)] == [
        ("s", "a", 0),
        ("s", "b", 0),
    ]


@pytest.mark.parametrize("content", ["", '{"format": "mmseg_dom', "[]", "{}", b"\xff\xfe"])
def test_a_damaged_plan_names_its_file_and_the_way_on(content, tmp_path):
    write = tmp_path.joinpath("sweep.json").write_bytes
    write(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SetError, match=r"sweep\.json is damaged .* delete it and start the sweep"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("seed3", (None, 3)), ("vpd_seed12", ("vpd", 12)), ("vpd-seed_2", ("vpd", 2)), ("vpd", None),
     ("linseed3x", None), ("reseed3", None)],
)  # fmt: skip
def test_seeds_in_folder_names(folder, expected):
    assert parse_seed_folder(folder) == expected
