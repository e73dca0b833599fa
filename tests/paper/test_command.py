"""The benchmark's quick version: real training, on less than it takes; slow, as CI runs it."""

import io
import json
import runpy
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from benchmarks.paper import bench
from benchmarks.paper.bench import QUICK_CONDITIONS, BenchSize, quick_checks

from ..cli.running import run_module
from ..processes import ENVIRONMENT

#: Barely beyond the warm-up of 20 iterations: nothing is learnt, but all is done.
TINY = BenchSize(train=8, val=2, synthetic=0, seeds=1, iterations=22)


def here(name, *arguments):
    """Run a module in this process, where everything is imported already: exit code, output."""
    handler, said = signal.getsignal(signal.SIGTERM), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setattr(bench, "QUICK", TINY)
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        for variable, value in ENVIRONMENT.items():
            patch.setenv(variable, value)
        with pytest.raises(SystemExit) as end:
            runpy.run_module(name, run_name="__main__")
    signal.signal(signal.SIGTERM, handler)
    return end.value.code, said.getvalue()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    return root, *here("benchmarks.paper", "--quick", "--root", root, "--jobs", 1)


def checks_of(root):
    pretrained = json.loads((root / "used.json").read_text())["sd"].startswith("trained")
    checks = quick_checks(root / "runs", pretrained)
    assert len(checks) == 3 + pretrained
    return checks


def test_it_says_what_it_checked_and_fails_if_a_check_does(quick):
    root, code, said = quick
    passed = [check.passed for check in checks_of(root)]
    assert code == (not all(passed)), said
    assert said.count("ok     ") == sum(passed)
    assert said.count("FAILED") == passed.count(False)
    assert (root / "checks.txt").read_text() in said


@pytest.mark.slow
def test_learning_pretraining_and_domains_work(tmp_path):
    done = run_module("benchmarks.paper", "--quick", "--root", tmp_path, "--jobs", 1)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    checks = checks_of(tmp_path)
    assert all(check.passed for check in checks)
    assert done.stdout.count("ok     ") == len(checks)


def test_it_is_not_done_twice(quick):
    root, code, _ = quick
    again, said = here("benchmarks.paper", "--quick", "--root", root, "--jobs", 1)
    assert again == code
    assert f"{len(QUICK_CONDITIONS)} finished before, 0 to do" in said


def test_the_report_says_what_is_missing(quick):
    root = quick[0]
    code, said = here("benchmarks.paper", "--quick", "--root", root, "--report-only")
    assert code == 0, said
    verdicts = json.loads((root / "report" / "verdicts.json").read_text())
    assert {c["verdict"] for c in verdicts["claims"]} == {"cannot be told"}
    table = (root / "report" / "tables" / "backbones.md").read_text()
    assert "mini-CLIP" in table
    assert "missing" in table


def test_tables_of_the_sweep(quick):
    root = quick[0]
    folders = (root / "runs", root / "nowhere")
    code, said = here("mmseg_domino", "report", *folders, "--out", root / "tables")
    assert code == 0, said
    assert "no such folder" in said
    for kind in ("md", "csv", "tex"):
        assert (root / "tables" / f"conditioning.{kind}").is_file()
