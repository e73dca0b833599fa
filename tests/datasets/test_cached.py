import itertools

import pytest
from mmseg.registry import DATASETS

from mmseg_domino.datasets.sampler import ResumableInfiniteSampler

from . import memory


def listed(size=5, variants=3, first=True):
    pipeline = [dict(type="SeedSample", variants=variants)] * first + [dict(type="AddRandom")]
    return dict(type="ListedDataset", tag="real", size=size, pipeline=pipeline)


def drawn(dataset, number, seed=0):
    sampler = ResumableInfiniteSampler(dataset, seed=seed)
    return [dataset[index] for index in itertools.islice(iter(sampler), number)]


@pytest.fixture
def made(monkeypatch):
    """How often the pipeline has run."""
    calls = []
    transform = memory.AddRandom.transform
    monkeypatch.setattr(
        memory.AddRandom, "transform", lambda self, r: calls.append(1) or transform(self, r)
    )
    return calls


def test_training_sees_the_same_samples_and_each_is_made_once(made):
    plain, cached = (
        DATASETS.build(listed()),
        DATASETS.build(dict(type="CachedDataset", dataset=listed())),
    )
    assert len(cached) == 5
    assert cached.metainfo == plain.metainfo
    expected = drawn(plain, 200)
    made.clear()
    assert drawn(cached, 200) == expected
    assert len(made) == len({str(sample) for sample in expected}) == 15
    assert drawn(cached, 200, seed=1) != expected


def test_what_follows_may_write_into_a_sample():
    cached = DATASETS.build(dict(type="CachedDataset", dataset=listed()))
    for sample in drawn(cached, 50):
        sample.clear()
    assert drawn(cached, 50) == drawn(DATASETS.build(listed()), 50)


def test_parts_may_have_variants_of_their_own(made):
    def mixture():
        parts = [listed(4, 2), dict(type="CachedDataset", dataset=listed(3, 1))]
        return dict(type="RatioConcatDataset", ratio="1:1", datasets=parts)

    whole = DATASETS.build(dict(type="CachedDataset", dataset=mixture()))
    drawn(whole, 300)
    assert len(made) == 4 * 2 + 3 * 1
    made.clear()
    drawn(DATASETS.build(mixture()), 300)
    assert len(made) == 150 + 3 * 1


def test_other_samplers_get_a_new_sample_each_time(made):
    cached = DATASETS.build(dict(type="CachedDataset", dataset=listed()))
    assert cached[2]["drawn"] != cached[2]["drawn"]
    assert len(made) == 2


@pytest.mark.parametrize("changes", [dict(variants=None), dict(first=False)])
def test_variants_without_limit_are_refused(changes):
    cached = DATASETS.build(dict(type="CachedDataset", dataset=listed(**changes)))
    with pytest.raises(ValueError, match=r"ListedDataset begins with .* variants=N"):
        drawn(cached, 1)
