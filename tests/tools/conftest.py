"""Fixtures for the tools' tests."""

import importlib.util
import sys

import pytest

from .running import ROOT


@pytest.fixture
def tool(monkeypatch):
    """Run a tool's main() with arguments, in this process."""

    def run(name, *arguments):
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        return module.main()

    return run
