"""Fixtures for the commands' tests."""

import pytest

from mmseg_domino.cli import main


@pytest.fixture
def domino():
    """Run a command in this process; its exit code."""

    def run(*arguments) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments], prog_name="domino")
        return end.value.code

    return run
