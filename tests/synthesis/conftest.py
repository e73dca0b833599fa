import pytest

from .scenes import write_cityscapes, write_pipeline


@pytest.fixture
def cityscapes(tmp_path):
    """A Cityscapes tree of four small scenes; its data set config."""
    return write_cityscapes(tmp_path / "cityscapes")


@pytest.fixture(scope="session")
def pipeline_folders(tmp_path_factory):
    """A miniature Stable Diffusion and a ControlNet of the true classes, with random weights."""
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))
