"""Fixtures for the commands' tests."""

import pytest
from mmengine.visualization import Visualizer

from mmseg_domino.cli import main


@pytest.fixture
def domino():
    """Run a command in this process; its exit code."""

    def run(*arguments) -> int:
        # MMEngine keeps visualisers by experiment and second: of two commands within one second,
        # the later would write its curves and config below the earlier one's folder.
        for kind in (Visualizer, *Visualizer.__subclasses__()):
            kind._instance_dict.clear()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments], prog_name="domino")
        return end.value.code

    return run
