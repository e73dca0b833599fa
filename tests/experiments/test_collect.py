from dataclasses import replace

import numpy as np
import pytest

from mmseg_domino.experiments import averages_table, collect_conditions, domains_table
from mmseg_domino.experiments.plan import PlannedRun, write_plan
from mmseg_domino.experiments.record import RunRecord, read_record, write_record
from mmseg_domino.metrics import ResultsError, load_results
from mmseg_domino.page import Estimate, Interval

from .folders import write_run


@pytest.fixture
def sweep(tmp_path):
    """Condition a with three seeds, b with one, one failed and one cut off; c never run."""
    work = tmp_path / "sweep"
    write_plan(work, [PlannedRun("s", name, seed) for seed in (0, 1, 2) for name in "abc"])
    for seed in (0, 1, 2):
        write_run(work / "s" / "a" / f"seed{seed}", seed, right=0.9, record=("s", "a"))
    write_run(work / "s" / "b" / "seed0", 0, right=0.7, record=("s", "b"))
    failed = RunRecord("s", "b", 1, "failed", "ValueError: loss is NaN")
    write_record(work / "s" / "b" / "seed1", failed)
    write_record(work / "s" / "b" / "seed2", RunRecord("s", "b", 2, "running"))
    return work


def test_every_planned_run_is_there(sweep):
    a, b, c = collect_conditions([sweep])
    assert [x.name for x in (a, b, c)] == ["a", "b", "c"]
    assert a.state == "3 of 3"
    assert b.state == (
        "1 of 3; seed 1 failed: ValueError: loss is NaN; seed 2 missing: not finished"
    )
    assert c.state.startswith("0 of 3; seed 0 missing: never run")


def test_a_plan_may_give_one_condition_more_seeds(sweep):
    write_plan(sweep, [PlannedRun("s", "c", seed) for seed in (3, 4)])
    a, _, c = collect_conditions([sweep])
    assert a.state == "3 of 3"
    assert c.state.startswith("0 of 5; ")


def test_a_failed_run_is_missing_even_with_old_results(sweep):
    record = read_record(sweep / "s" / "a" / "seed1")
    write_record(sweep / "s" / "a" / "seed1", replace(record, status="failed", reason="killed"))
    a = collect_conditions([sweep])[0]
    assert [run.seed for run in a.present] == [0, 2]
    assert "seed 1 failed: killed" in a.state


def test_damaged_results_are_a_failure_with_a_reason(sweep):
    (sweep / "s" / "a" / "seed1" / "results.json").write_text("{")
    assert "seed 1 failed: " in collect_conditions([sweep])[0].state
    assert "not valid JSON" in collect_conditions([sweep])[0].state


def test_the_table_gives_mean_deviation_and_interval(sweep):
    conditions = collect_conditions([sweep])
    table = averages_table(conditions)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    values = [
        load_results(sweep / "s" / "a" / f"seed{s}").figures["acdc/mean_of_domains"].value
        for s in range(3)
    ]
    estimate = rows["a"]["acdc mean of domains"]
    assert estimate == Estimate(np.mean(values), np.std(values, ddof=1), 3)
    interval = rows["a"]["acdc mean of domains, 95 % interval"]
    assert isinstance(interval, Interval)
    assert interval.low < estimate.mean < interval.high
    assert rows["b"]["acdc mean of domains"].std is None
    assert rows["c"]["Source mIoU"].reason == "missing"
    for text in (table.markdown(), table.csv(), table.latex()):
        assert "never run" in text
        assert "loss is NaN" in text
    domains = domains_table(conditions)
    assert domains.columns == ["Condition", "Seeds", "city/clear_day", "acdc/fog", "acdc/night"]


def test_folders_without_a_sweep(tmp_path):
    write_run(tmp_path / "set" / "x" / "seed0", 0)
    write_run(tmp_path / "set" / "x" / "seed1", 1)
    write_run(tmp_path / "set" / "y_seed0", 0)
    conditions = collect_conditions([tmp_path, tmp_path / "nowhere"])
    found = {(c.group, c.name): c.state for c in conditions}
    assert found == {
        ("set", "x"): "2 of 2",
        ("set", "y"): "1 of 2; seed 1 missing: never run",
        (tmp_path.name, "nowhere"): "0 of 1; missing: no such folder",
    }


def test_one_condition_and_seed_twice_is_refused(tmp_path):
    for sweep in "ab":
        write_run(tmp_path / sweep / "set" / "x" / "seed0", 0)
    with pytest.raises(ResultsError, match=r"are both seed 0 of\s+set/x"):
        collect_conditions([tmp_path / "a", tmp_path / "b"])
