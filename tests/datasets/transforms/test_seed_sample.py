"""Augmentation by seed and draw; with a number of variants, a finite set of augmented images."""

import numpy as np
import pytest

from mmseg_domino.datasets.mixture import SampleIndex
from mmseg_domino.datasets.transforms import SeedSample


def drawn(index, draw, seed=3, **options):
    SeedSample(**options).transform({"sample_idx": SampleIndex(index, draw, seed)})
    return np.random.random()


def test_every_draw_is_its_own():
    assert drawn(0, 7) == drawn(0, 7)
    assert len({drawn(0, n) for n in range(50)}) == 50


def test_an_image_has_so_many_variants():
    of_one = [drawn(0, n, variants=4) for n in range(50)]
    assert len(set(of_one)) == 4
    assert of_one[:4] == of_one[4:8]
    others = {drawn(index, n, variants=4) for index in range(1, 10) for n in range(50)}
    assert len(others) == 36
    assert not others & set(of_one)
    assert not {drawn(0, n, seed=4, variants=4) for n in range(50)} & set(of_one)


def test_no_variant_is_an_error():
    with pytest.raises(ValueError, match="variants must be at least 1"):
        SeedSample(variants=0)
