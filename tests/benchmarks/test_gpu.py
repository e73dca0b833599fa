"""The script for a machine with a GPU, as a small run on the CPU has it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def here(monkeypatch):
    """Run the script in this process, where everything is imported already."""

    def run(*arguments):
        monkeypatch.syspath_prepend(str(SCRIPT.parent))
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def cells(markdown):
    """``{what was measured: the other cells}`` of a table."""
    table = markdown[markdown.index("| measured") :]  # what libraries print comes before it
    rows = [line.strip().strip("|").split("|") for line in table.splitlines()[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_a_small_run_measures_every_part(tmp_path):
    table = tmp_path / "results" / "table.md"
    arguments = ["--small", "--minutes", "14", "--out", str(table)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *arguments],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = cells(table.read_text())
    assert cells(done.stdout) == rows
    assert not any("stopped" in cell or "Error" in cell for row in rows.values() for cell in row)
    for part in (
        "environment",
        "exactness",
        "forward",
        "slide",
        "train",
        "embeddings",
        "operators",
    ):
        assert f"*{part}*" in rows
    assert torch.__version__ in rows["packages"][-1]
    assert float(rows["features against the CPU, float32"][1].split()[0]) < 1e-5
    assert 0 < float(rows["features against the CPU, bfloat16"][1].split()[0]) < 0.1
    compared = (
        "UNet with maps, float32", "whole forward with TAESD, bfloat16",
        "slide, exact, 192x256, bfloat16", "training step, 1 x 128x128, bfloat16",
    )  # fmt: skip
    for name in compared:
        plain, ours, ratio, _, _ = rows[name]
        expected = float(plain.split()[0]) / float(ours.split()[0])
        assert float(ratio.removesuffix("x")) == pytest.approx(expected, abs=0.02)


def test_what_does_not_come_to_its_end_is_a_row(here, capsys):
    here("--small", "--parts", "environment", "operators", "--minutes", "0")
    assert "left out: the 0 minutes are over" in cells(capsys.readouterr().out)["operators"][-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a card")
def test_without_a_card_it_says_so(here):
    with pytest.raises(SystemExit, match="no CUDA device"):
        here("--parts", "forward")
