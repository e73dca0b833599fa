"""What may stand side by side, and paired differences."""

import time

import numpy as np
import pytest
from scipy import stats

from mmseg_domino.metrics import (
    GroupKey,
    PerImage,
    ResultsError,
    check_same_classes,
    check_same_images,
    image_differences,
    load_results,
    paired_differences,
)
from mmseg_domino.metrics.files import parse_results

from ..experiments.folders import GROUPS, write_run
from ..reporting import fake


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    return fake.frames(tmp_path_factory.mktemp("data"))


def test_runs_of_other_classes_are_not_compared(tested):
    first, second = fake.results_of(tested), fake.results_of(tested)
    second["classes"][3] = "rampart"
    with pytest.raises(ResultsError, match=r"b\.json cannot.*a\.json.*'wall'.*'rampart'"):
        check_same_classes([parse_results(first, "a.json"), parse_results(second, "b.json")])
    second["classes"] = first["classes"][::-1]
    second["groups"] = {
        k: {**g, **{x: g[x][::-1] for x in ("iou", "acc")},
            "confusion": [r[::-1] for r in g["confusion"][::-1]]}
        for k, g in second["groups"].items()
    }  # fmt: skip
    with pytest.raises(ResultsError, match="another order"):
        check_same_classes([parse_results(first, "a.json"), parse_results(second, "b.json")])


def table(names, label=None, group="acdc/night"):
    counts = np.arange(len(names) * 6).reshape(len(names), 3, 2) + (label or 0)
    return PerImage(tuple(names), (GroupKey(group),) * len(names), ("a", "b"), counts)


def test_the_same_tree_elsewhere_is_the_same():
    here, there = ([f"{root}/night/{i}.png" for i in range(4)] for root in ("/a", "/b/c"))
    assert image_differences(table(here), table(there)) == {}
    check_same_images([table(here), table(there)])


def test_other_images_and_other_labels_are_told():
    first = [f"/a/n1/{i}.png" for i in range(4)]
    differ = image_differences(table(first), table([f"/a/n1/{i}.png" for i in range(2, 7)]))
    assert differ == {"acdc/night": "different images: 4 and 5, of which 2 the same"}
    assert image_differences(table(first), table(first, label=1)) == {
        "acdc/night": "the same images with different labels"
    }
    other = table([f"/a/n2/{i}.png" for i in range(4)], label=1)
    assert "of the same names" in image_differences(table(first), other)["acdc/night"]
    assert image_differences(table(first), table(first, group="acdc/fog")) == {}
    with pytest.raises(ResultsError, match=r"acdc/night with different images: 4 and 5"):
        check_same_images([table(first), table([f"/a/n1/{i}.png" for i in range(2, 7)])])
    with pytest.raises(ResultsError, match=r"acdc/fog with different images: 0 and 4"):
        check_same_images([table(first), table(first, group="acdc/fog")])


def test_checking_images_takes_linear_time():
    """75 corruptions of 500 images each, as in Cityscapes-C."""
    count = 75 * 500
    groups = tuple(GroupKey(f"cityscapes_c/k{i % 75}") for i in range(count))
    names = tuple(f"/data/{i % 75}/{i}.png" for i in range(count))
    counts = np.ones((count, 3, 19), np.int32)
    runs = [PerImage(names, groups, ("x",) * 19, counts) for _ in range(2)]
    start = time.process_time()
    check_same_images(runs)
    assert time.process_time() - start < 3


def test_differences_are_those_of_the_results_and_paired(tmp_path):
    for name, right in (("a", 0.9), ("b", 0.88)):
        write_run(tmp_path / name, right=right)
    a, b = (load_results(tmp_path / name) for name in "ab")
    found = paired_differences(a, b)
    assert set(found) == set(a.figures)
    for name, difference in found.items():
        assert difference.value == pytest.approx(b.figures[name].value - a.figures[name].value)
    low, high = found["acdc/mean_of_domains"].interval()
    assert low < high < 0
    alone = a.figures["acdc/mean_of_domains"].interval
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_only_what_both_were_tested_on_is_compared(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", images=5)
    a, b = (load_results(tmp_path / name) for name in "ab")
    assert paired_differences(a, b) == {}
    plain = parse_results(fake.results_of(fake.frames(tmp_path / "data")))
    with pytest.raises(ResultsError, match="another class set"):
        paired_differences(a, plain)
    assert paired_differences(plain, plain) == {}, "no counts by image"


def test_a_paired_difference_of_means_is_the_paired_test():
    """One class of equal labels in every image makes the mIoU a mean."""
    rng = np.random.default_rng(0)
    first = rng.normal(0.5, 0.05, 30)
    second = first + rng.normal(0.01, 0.004, 30)
    from mmseg_domino.metrics import measure

    def run(share):
        label = np.full(30, 10**9)
        hit = (share * label).astype(int)
        return measure({GROUPS[1]: np.stack([hit, hit, label], 1)[:, :, None]})

    found = run(second)[f"{GROUPS[1]}/mIoU"] - run(first)[f"{GROUPS[1]}/mIoU"]
    expected = stats.ttest_rel(100 * second, 100 * first).confidence_interval(0.95)
    assert found.interval() == pytest.approx(tuple(expected), abs=1e-3)
