"""The order of things, with processes that only pretend; tests/tools has real ones."""

import pytest

from mmseg_domino.experiments import Sweep, SweepBusyError, clock, plan_runs, read_record
from mmseg_domino.experiments import sweep as module
from mmseg_domino.experiments.plan import read_plan
from mmseg_domino.experiments.processes import failure_reason
from mmseg_domino.experiments.record import RunRecord, config_hash, write_record

from .folders import write_run


class Pretender:
    """Ends after two looks: with results, or as ``fate`` says for its name and seed."""

    fate: dict = {}
    started: list = []
    most: int = 0
    running: list = []

    def __init__(self, config, work_dir, seed, options, gpus, cwd, environment, pretty):
        self.key = (config.stem, seed)
        self.folder, self.log, self.looks = work_dir, work_dir / "sweep.log", 0
        self.threads = environment["OMP_NUM_THREADS"]
        Pretender.started.append(self.key)
        Pretender.running.append(self.key)
        Pretender.most = max(Pretender.most, len(Pretender.running))
        self._code = None

    @property
    def exit_code(self):
        self.looks += 1
        if self.looks > 2 and self._code is None:
            Pretender.running.remove(self.key)
            fate = Pretender.fate.get(self.key)
            if isinstance(fate, BaseException):
                raise fate
            self._code = 0 if fate is None else 1
            if fate is None:
                write_run(self.folder, self.key[1])
            elif fate == "silent":
                self._code = 0
            else:
                self.log.write_text(f"Traceback (most recent call last):\n{fate}\n")
        return self._code

    def stop(self):
        self.looks = -(10**9)
        Pretender.started.append(("stopped", self.key))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RunProcess", Pretender)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    Pretender.fate, Pretender.started, Pretender.running, Pretender.most = {}, [], [], 0
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "base.py").write_text("x = 1\n")
    for name in "ab":
        (folder / f"{name}.py").write_text(f"_base_ = '../base.py'\nname = {name!r}\n")
    lines = []

    def make(**options):
        runs = plan_runs([folder], [0, 1], tmp_path / "w")
        return Sweep(runs, tmp_path / "w", say=lines.append, **options)

    make.lines, make.folder, make.work = lines, folder, tmp_path / "w"
    return make


def test_all_runs_once(sweep):
    report = sweep(jobs=2, threads=3).execute()
    assert report.complete
    assert sorted(Pretender.started) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert Pretender.most == 2
    assert len(read_plan(sweep.work)) == 4
    again = sweep().execute()
    assert again.complete
    assert again.reused == 4
    assert len(Pretender.started) == 4


def test_a_failed_run_is_recorded_and_the_others_go_on(sweep):
    Pretender.fate = {("a", 0): "RuntimeError: out of luck", ("b", 1): "silent"}
    report = sweep().execute()
    assert {(r.name, r.seed) for r in report.finished} == {("b", 0), ("a", 1)}
    assert not report.complete
    record = read_record(sweep.work / "set" / "a" / "seed0")
    assert (record.status, record.reason) == ("failed", "RuntimeError: out of luck")
    assert "left no results" in read_record(sweep.work / "set" / "b" / "seed1").reason
    # ... and is tried again next time, the others are not.
    Pretender.fate, Pretender.started = {}, []
    assert sweep().execute().complete
    assert sorted(Pretender.started) == [("a", 0), ("b", 1)]
    assert read_record(sweep.work / "set" / "a" / "seed0").attempts == 2


def test_a_stopped_sweep_stops_its_runs_and_goes_on_later(sweep):
    Pretender.fate = {("b", 0): KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        sweep().execute()
    assert any(s[0] == "stopped" for s in Pretender.started)
    assert read_record(sweep.work / "set" / "b" / "seed0").status == "running"
    Pretender.fate, Pretender.started = {}, []
    assert sweep().execute().complete
    assert ("b", 0) in Pretender.started
    assert ("a", 0) not in Pretender.started


def test_a_config_that_cannot_be_read_fails_alone(sweep):
    (sweep.folder / "c.py").write_text("_base_ = 'nowhere.py'\n")
    report = sweep().execute()
    assert {r.name for r in report.failed} == {"c"}
    assert len(report.finished) == 4
    assert read_record(sweep.work / "set" / "c" / "seed0").status == "failed"


def test_a_changed_config_is_not_mixed_with_old_results(sweep):
    sweep().execute()
    (sweep.folder / "a.py").write_text("_base_ = '../base.py'\nname = 'other'\n")
    report = sweep().execute()
    assert {r.name for r in report.failed} == {"a"}
    assert all("--redo" in reason for reason in report.failed.values())
    assert sweep(redo=True).execute().complete


def test_checkpoints_go_when_asked(sweep):
    for discard in (False, True):
        sweep(discard_checkpoints=discard).execute()
        checkpoint = sweep.work / "set" / "a" / "seed0" / "iter_5.pth"
        if not discard:
            checkpoint.write_bytes(b"weights")
    assert not checkpoint.exists()


def test_no_run_is_started_late(sweep):
    report = sweep(seconds=-1).execute()
    assert len(report.left) == 4
    assert not report.complete
    assert Pretender.started == []


def test_two_sweeps_in_one_folder(sweep):
    first = sweep()
    with first._alone(), pytest.raises(SweepBusyError, match="another sweep is at work"):
        sweep().execute()


def test_progress_and_time_left_are_told(sweep):
    sweep().execute()
    ends = [line for line in sweep.lines if line.startswith("[")]
    assert [line.split("]")[0] for line in ends] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert all("elapsed, about" in line for line in ends[:-1])
    assert ends[-1].endswith("none left")
    assert (clock(59.6), clock(3723)) == ("1:00", "1:02:03")


def test_reasons(tmp_path):
    log = tmp_path / "log"
    log.write_text("x\nTraceback\nKeyError: 'a'\n\nmmengine.Foo.BarError: deep\nwarning\n")
    assert failure_reason(1, log) == "mmengine.Foo.BarError: deep"
    assert failure_reason(-9, log) == "ended by SIGKILL (out of memory?)"
    log.write_text(
        "OldError: of an earlier attempt\n==== a run starts ====\n[rank1]: ValueError: the cause\n"
        "[rank0]: RuntimeError: Connection closed by peer\ntorch.ChildFailedError: \n"
    )
    assert failure_reason(1, log) == "ValueError: the cause"
    log.write_text("nothing useful\n")
    assert failure_reason(3, log) == f"ended with exit code 3; see {log}"


def test_the_hash_tells_configs_and_seeds_apart_and_no_folders():
    one = config_hash({"a": 1, "work_dir": "x"}, 0)
    assert one == config_hash({"work_dir": "y", "a": 1}, 0)
    assert len({one, config_hash({"a": 2}, 0), config_hash({"a": 1}, 1)}) == 3


def test_a_damaged_record_says_so(tmp_path):
    write_record(tmp_path, RunRecord("s", "a", 0))
    assert read_record(tmp_path).status == "running"
    (tmp_path / "run.json").write_text('{"format": "mmseg_domino.run/1", "status": "x"}')
    with pytest.raises(ValueError, match="damaged"):
        read_record(tmp_path)


def test_threads_of_the_runs(sweep, monkeypatch):
    seen = []
    monkeypatch.setattr(Pretender, "stop", lambda self: None)
    original = Pretender.__init__

    def watch(self, *arguments):
        original(self, *arguments)
        seen.append(self.threads)

    monkeypatch.setattr(Pretender, "__init__", watch)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    sweep().execute()
    assert set(seen) == {"5"}
    seen.clear()
    sweep(threads=3, redo=True).execute()
    assert set(seen) == {"3"}
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    seen.clear()
    sweep(jobs=2, redo=True).execute()
    assert set(seen) == {"4"}
