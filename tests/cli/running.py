"""Running commands of this checkout in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment():
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    # Two threads on two cores that others use too spend their time waiting for each other.
    env = {
        **os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(*arguments, cwd=None):
    """What ``domino ARGUMENTS`` comes to."""
    return run_module("mmseg_domino", *arguments, cwd=cwd)


def run_module(name, *arguments, cwd=None):
    """What ``python -m NAME ARGUMENTS`` comes to."""
    return subprocess.run(
        [sys.executable, "-m", name, *map(str, arguments)],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
