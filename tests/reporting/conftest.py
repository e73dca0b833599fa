import pytest

from . import fake


@pytest.fixture(scope="session")
def tested(tmp_path_factory):
    """Frames of one run on five domains."""
    return fake.frames(tmp_path_factory.mktemp("data"))


@pytest.fixture
def work(tmp_path, tested):
    """A work folder with results and counts by image."""
    return fake.write_run(tmp_path / "run", tested)
