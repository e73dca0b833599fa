"""The order of things, with processes that only pretend; tests/tools has real ones."""

import subprocess
import sys

import pytest
from mmengine.config import Config

from mmseg_domino.experiments import (
    Resources,
    Sweep,
    clock,
    plan_runs,
    read_record,
)
from mmseg_domino.experiments import sweep as module
from mmseg_domino.experiments.plan import read_plan
from mmseg_domino.experiments.processes import failure_reason, visible_gpus
from mmseg_domino.experiments.record import config_hash, freeze_config, read_frozen
from mmseg_domino.utils.locks import FolderInUseError

from .folders import write_run


class Pretender:
    """Ends after two looks: with results, or as ``fate`` says for its name and seed."""

    fate: dict = {}
    started: list = []
    most: int = 0
    running: list = []
    processes: list = []

    def __init__(self, work_dir, processes, gpus, cwd, environment):
        self.config = read_frozen(work_dir)
        self.key = (self.config.name, self.config.randomness.seed)
        self.gpus = gpus
        self.folder, self.log, self.looks = work_dir, work_dir / "sweep.log", 0
        self.threads = environment["OMP_NUM_THREADS"]
        Pretender.started.append(self.key)
        Pretender.running.append(self.key)
        Pretender.processes.append(self)
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

    def kill(self):
        self.looks = -(10**9)
        Pretender.started.append(("killed", self.key))

    def wait(self):
        Pretender.started.append(("awaited", self.key))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RunProcess", Pretender)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    Pretender.fate, Pretender.started, Pretender.running, Pretender.most = {}, [], [], 0
    Pretender.processes = []
    (tmp_path / "base.py").write_text("x = 1\n")
    path, lines = tmp_path / "set.py", []
    path.write_text("base = 'base.py'\nconditions = dict(a=dict(name='a'), b=dict(name='b'))\n")

    def make(jobs=1, **options):
        runs = plan_runs([path], [0, 1])
        resources = Resources(jobs, options.pop("threads", None), hours=options.pop("hours", None))
        return Sweep(runs, tmp_path / "w", resources, say=lines.append, **options)

    make.lines, make.path, make.base, make.work = lines, path, tmp_path / "base.py", tmp_path / "w"
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
    ended = [what for what, _ in Pretender.started if what in ("killed", "awaited")]
    # a second signal may end the waiting
    assert ended == ["killed"] * (len(ended) // 2) + ["awaited"] * (len(ended) // 2)
    assert ended
    assert read_record(sweep.work / "set" / "b" / "seed0").status == "running"
    Pretender.fate, Pretender.started = {}, []
    assert sweep().execute().complete
    assert ("b", 0) in Pretender.started
    assert ("a", 0) not in Pretender.started


def test_a_config_that_cannot_be_read_fails_alone(sweep):
    text = sweep.path.read_text()
    sweep.path.write_text(text + "conditions['c'] = dict(name='{{base.y}}')\n")
    report = sweep().execute()
    assert {r.name for r in report.failed} == {"c"}
    assert len(report.finished) == 4
    assert read_record(sweep.work / "set" / "c" / "seed0").status == "failed"
    sweep.path.write_text(text + "conditions['c'] = dict(name='c')\n")
    assert sweep().execute().complete


@pytest.mark.parametrize("state", ["finished", "half trained", "not started"])
def test_a_changed_config_is_never_mixed_with_what_another_one_made(sweep, state):
    """However often the same command is started: the first time is no better than the second."""
    folder = sweep.work / "set" / "a" / "seed0"
    if state == "half trained":
        Pretender.fate = {("a", 0): "RuntimeError: cut off"}
    sweep(hours=-1 if state == "not started" else None).execute()
    before = [p.read_bytes() if p.is_file() else None
              for p in (folder / "frozen_config.py", folder / "run.json")]  # fmt: skip
    sweep.base.write_text("x = 2\n")
    Pretender.fate, Pretender.started = {}, []
    for _ in range(3):
        report = sweep().execute()
        assert len(report.failed) == 4
        assert all("its config has changed" in reason for reason in report.failed.values())
        assert all("--redo" in reason for reason in report.failed.values())
    assert Pretender.started == []
    assert before == [p.read_bytes() if p.is_file() else None
                      for p in (folder / "frozen_config.py", folder / "run.json")]  # fmt: skip
    assert sweep(redo=True).execute().complete
    assert {p.config.x for p in Pretender.processes[-4:]} == {2}


def test_editing_a_base_while_the_sweep_runs_changes_no_run(sweep, monkeypatch):
    first = Pretender.__init__

    def edit(self, *arguments):
        sweep.base.write_text("x = 2\n")
        first(self, *arguments)

    monkeypatch.setattr(Pretender, "__init__", edit)
    assert sweep().execute().complete
    assert [p.config.x for p in Pretender.processes] == [1] * 4
    assert {p.config.randomness.seed for p in Pretender.processes} == {0, 1}


def test_overrides_are_part_of_the_config(sweep):
    sweep(options={"x": 5}).execute()
    assert {p.config.x for p in Pretender.processes} == {5}
    assert len(sweep().execute().failed) == 4


def test_an_edited_frozen_config_is_noticed(sweep):
    sweep().execute()
    frozen = sweep.work / "set" / "a" / "seed0" / "frozen_config.py"
    frozen.write_text(frozen.read_text().replace("x=1", "x=3"))
    (reason,) = sweep().execute().failed.values()
    assert "its config has changed" in reason
    frozen.write_text("x = (")
    (reason,) = sweep().execute().failed.values()
    assert "frozen_config.py is damaged" in reason


def test_a_folder_of_an_unknown_config_is_not_used(sweep):
    folder = sweep.work / "set" / "a" / "seed0"
    folder.mkdir(parents=True)
    (folder / "iter_5.pth").write_bytes(b"weights")
    (reason,) = sweep().execute().failed.values()
    assert "results or checkpoints of an unknown config" in reason


def test_what_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be frozen"):
        freeze_config(tmp_path, Config(dict(x=object()), format_python_code=False))
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_go_when_asked(sweep):
    for discard in (False, True):
        sweep(discard_checkpoints=discard).execute()
        checkpoint = sweep.work / "set" / "a" / "seed0" / "iter_5.pth"
        if not discard:
            checkpoint.write_bytes(b"weights")
    assert not checkpoint.exists()


def test_no_run_is_started_late(sweep):
    report = sweep(hours=-1).execute()
    assert len(report.left) == 4
    assert not report.complete
    assert Pretender.started == []


def test_two_sweeps_in_one_folder(sweep):
    program = (
        "import sys; from mmseg_domino.utils.locks import folder_lock\n"
        f"with folder_lock({str(sweep.work)!r}, 'sweep', 'a sweep'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError, match="a sweep by process"):
            sweep().execute()
        other.stdin.close()
    assert sweep().execute().complete


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


def test_the_hash_tells_configs_apart():
    one = config_hash({"a": 1, "b": (1, 2)})
    assert one == config_hash({"b": [1, 2], "a": 1})
    assert len({one, config_hash({"a": 2, "b": (1, 2)}), config_hash({"a": 1})}) == 3


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "mmseg', '{"format": "mmseg_domino.run/2", "status": "x"}']
)
def test_a_damaged_record_names_its_file_and_the_way_on(sweep, content):
    sweep().execute()
    record = sweep.work / "set" / "a" / "seed0" / "run.json"
    record.write_text(content)
    (reason,) = sweep().execute().failed.values()
    assert "run.json is damaged" in reason
    assert "delete it and start the sweep again" in reason
    assert record.read_text() == content
    record.unlink()
    assert sweep().execute().complete
    assert len(Pretender.processes) == 5


def test_each_job_has_its_own_gpus(sweep, monkeypatch):
    monkeypatch.setattr(module, "visible_gpus", lambda: ["2", "3", "5"])
    sweep(jobs=3).execute()
    given = [p.gpus for p in Pretender.processes]
    assert sorted(given[:3]) == [["2"], ["3"], ["5"]]
    assert "the 3 jobs share" not in "".join(sweep.lines)
    two = Resources(jobs=2, gpus=2)
    assert [two.cards(job, list("0123")) for job in (0, 1)] == [["0", "1"], ["2", "3"]]
    assert [two.cards(job, list("012")) for job in (0, 1)] == [["0", "1"], ["2", "0"]]
    assert two.cards(1, []) == []
    with pytest.raises(ValueError, match="a run on 2 GPUs needs as many, and 1 are visible"):
        two.cards(0, ["0"])
    sweep(jobs=4, redo=True).execute()
    assert "the 4 jobs share 3 GPUs" in sweep.lines


@pytest.mark.parametrize(("named", "expected"), [(None, ["0", "1"]), ("4,7,9", ["4", "7"])])
def test_gpus_are_called_as_the_environment_names_them(named, expected, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected


def test_threads_of_the_runs(sweep, monkeypatch):
    seen = []
    monkeypatch.setattr(Pretender, "kill", lambda self: None)
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
