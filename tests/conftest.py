"""Fixtures every test may use."""

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _two_cores():
    """Keep the tests' own threads within the two cores that they are promised to need."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True)
def _mmseg_scope():
    """Type names in configs mean MMSegmentation's, as under its runner."""
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real frames and reference activations that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the development data folder 'shared' does not lie beside the checkout")
    return SHARED
