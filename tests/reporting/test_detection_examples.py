"""Examples of a detector's test, as they are kept beside its results."""

import numpy as np
import pytest

from mmseg_domino.metrics import ResultsError
from mmseg_domino.reporting.detection_examples import (
    INDEX,
    PICTURES,
    load_detection_examples,
    write_detection_example,
    write_detection_index,
)
from mmseg_domino.reporting.examples import Selection


def store(folder):
    selection = Selection(
        index=0, group="acdc/fog", image="a.png", kind="best", rank=1, count=3, miou=50.0
    )
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) for name in PICTURES}
    example = write_detection_example(folder, 1, selection, pictures, side=30)
    write_detection_index(folder, [example])
    return example, pictures


def test_what_is_written_is_read_again(tmp_path):
    assert load_detection_examples(tmp_path) == []
    example, pictures = store(tmp_path)
    ((found, read),) = load_detection_examples(tmp_path)
    assert found == example
    for name, picture in pictures.items():
        np.testing.assert_array_equal(read[name], picture)


@pytest.mark.parametrize("file", [INDEX, "001_{}.png"])
def test_damage_is_named(tmp_path, file):
    store(tmp_path)
    path = tmp_path / file.format(next(iter(PICTURES)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(b"[" * 100_000 if file == INDEX else data)
    with pytest.raises(ResultsError, match="damaged"):
        load_detection_examples(tmp_path)
