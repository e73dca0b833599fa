import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_flagship_trains_and_tests_at_true_size_in_24_gib():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "benchmarks" / "true_size.py")],
        capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout[done.stdout.index("{") :])
    assert 855e6 < results["unet_parameters"] < 865e6
    assert results["peak_gib"] < 24
    assert results["finite"]
    assert results["test_size"] == [512, 1024]
    assert 1 < results["loss"] < 10
