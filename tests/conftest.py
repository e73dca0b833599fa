"""Fixtures every test may use."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_finish():
    """Take what the imports made out of the collector's sight.

    MMEngine calls ``gc.collect()`` for each data set that it builds: half a second each time where
    it looks at all objects of the whole stack.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _plain_configs() -> Iterator[None]:
    """Leave configs in the logs and work folders as they are printed.

    MMEngine has yapf break their lines each time it prints one: up to a second, and several times a
    run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **options: (text, True))
        yield


@pytest.fixture(scope="session", autouse=True)
def _read_indices_once() -> Iterator[None]:
    """MMEngine reads 150 index files of MMSegmentation for every ``mmseg::`` base."""
    import mmengine.config.utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, "load", cache(mmengine.config.utils.load))
        yield


@pytest.fixture(scope="session", autouse=True)
def _two_cores():
    """Keep the tests' own threads within the two cores that they are promised to need."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True)
def _mmseg_scope():
    """Type names in configs mean MMSegmentation's, as under its runner."""
    from mmengine.registry import init_default_scope

    init_default_scope("mmseg")


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction that is right in 70 % of the pixels and its label, with pixels of no class."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 19, (40, 50), generator=generator)
    prediction = torch.where(
        torch.rand(label.shape, generator=generator) < 0.7,
        label,
        torch.randint(0, 19, label.shape, generator=generator),
    )
    label[torch.rand(label.shape, generator=generator) < 0.1] = 255
    return prediction, label


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> Iterator[torch.device]:
    """The devices that a test runs on: the CPU, and with ``-m gpu`` the first CUDA card.

    Convolutions in TF32 keep ten bits, so that float32 would mean another thing on each device.
    """
    with _exact_float32():
        yield _device(request.param)


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """The first CUDA card, for tests that compare it with the CPU; mark them ``gpu``."""
    with _exact_float32():
        yield _device("cuda")


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch.cuda.is_available() is false here")
    return torch.device(name)


@contextmanager
def _exact_float32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real frames and reference activations that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the development data folder 'shared' does not lie beside the checkout")
    return SHARED
