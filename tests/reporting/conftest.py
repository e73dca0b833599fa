from pathlib import Path

import numpy as np
import pytest

from mmseg_domino.metrics import load_results
from mmseg_domino.reporting import (
    ExampleArrays,
    select_examples,
    write_example,
    write_index,
)

from . import fake


@pytest.fixture(scope="session")
def tested(tmp_path_factory):
    """Frames of one run on five domains."""
    return fake.frames(tmp_path_factory.mktemp("data"))


@pytest.fixture
def work(tmp_path, tested):
    """A work folder with results and counts by image."""
    return fake.write_run(tmp_path / "run", tested)


def write_examples(work: Path, tested: list[fake.Frame]) -> None:
    stored = []
    for chosen in select_examples(load_results(work).images):
        frame = tested[chosen.index]
        confidence = np.round(255 * frame.confidence).astype(np.uint8)
        arrays = ExampleArrays(frame.image, frame.prediction, frame.label, confidence)
        stored.append(write_example(work / "examples", chosen, vars(arrays)))
    write_index(work / "examples", fake.CLASSES, stored)


@pytest.fixture(scope="session")
def full_work(tmp_path_factory, tested):
    """A work folder with everything a test leaves behind."""
    work = fake.write_run(tmp_path_factory.mktemp("full") / "run", tested, calibration=True)
    write_examples(work, tested)
    (work / "domino_vpd_mini.py").write_text("model = dict(type='DominoEncoderDecoder')  # <&>\n")
    return work


@pytest.fixture(scope="session")
def other_work(tmp_path_factory, tested):
    """A better run on the same data, without pictures and not tested on snow."""
    root = tmp_path_factory.mktemp("other")
    better = [f for f in fake.frames(root / "data", seed=3, skill=1.4) if "snow" not in f.group]
    return fake.write_run(root / "run", better, "Better <b>run</b>", intervals=False)
