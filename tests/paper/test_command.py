"""The benchmark's quick version as CI runs it: real training, in processes of their own."""

import json
import runpy
import signal
import sys

import pytest

from benchmarks.paper.bench import QUICK_CONDITIONS, quick_checks

from ..cli.running import run_module


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    done = run_module("benchmarks.paper", "--quick", "--root", root, "--jobs", 1)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return root, done.stdout


@pytest.fixture
def here(monkeypatch, capsys):
    """Run a module in this process, where everything is imported already."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_module(name, run_name="__main__")
        said = capsys.readouterr()
        assert end.value.code == 0, said.err
        return said.out

    yield run
    signal.signal(signal.SIGTERM, handler)


def test_learning_pretraining_and_domains_work(quick):
    root, said = quick
    pretrained = json.loads((root / "used.json").read_text())["sd"].startswith("trained")
    checks = quick_checks(root / "runs", pretrained)
    assert len(checks) == 3 + pretrained
    assert all(check.passed for check in checks)
    assert said.count("ok     ") == len(checks)
    assert "FAILED" not in said


def test_it_is_not_done_twice(quick, here):
    root, _ = quick
    said = here("benchmarks.paper", "--quick", "--root", root, "--jobs", 1)
    assert f"{len(QUICK_CONDITIONS)} finished before, 0 to do" in said


def test_the_report_says_what_is_missing(quick, here):
    root, _ = quick
    here("benchmarks.paper", "--quick", "--root", root, "--report-only")
    verdicts = json.loads((root / "report" / "verdicts.json").read_text())
    assert {c["verdict"] for c in verdicts["claims"]} == {"cannot be told"}
    table = (root / "report" / "tables" / "backbones.md").read_text()
    assert "mini-CLIP" in table
    assert "missing" in table


def test_tables_of_the_sweep(quick, here):
    root, _ = quick
    said = here("mmseg_domino", "report", root / "runs", root / "nowhere", "--out", root / "tables")
    assert "no such folder" in said
    for kind in ("md", "csv", "tex"):
        assert (root / "tables" / f"conditioning.{kind}").is_file()
