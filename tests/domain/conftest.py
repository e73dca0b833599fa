import pytest

from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """The folder of a small random CLIP."""
    return write_tiny_clip(tmp_path_factory.mktemp("tiny_clip"))
