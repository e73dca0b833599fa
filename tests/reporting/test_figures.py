"""Figures show the numbers that they are of."""

from dataclasses import replace

import numpy as np
import pytest

from mmseg_domino.metrics import GroupKey, ResultsError
from mmseg_domino.metrics.files import parse_results
from mmseg_domino.page import figure_pixels
from mmseg_domino.page.pictures import figure_bytes
from mmseg_domino.reporting import figures

from . import fake


@pytest.fixture(scope="module")
def first(tested):
    return parse_results(fake.results_of(tested, "first"))


@pytest.fixture(scope="module")
def second(tested):
    swapped = [f for f in tested if f.group != "acdc/snow"]
    return parse_results(fake.results_of(swapped, "second", intervals=False))


def texts(figure) -> list[str]:
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def image(figure) -> np.ma.MaskedArray:
    return figure.axes[0].images[0].get_array()


def test_bars_have_the_lengths_and_intervals_of_the_results(first):
    axes = figures.domain_bars([first]).axes[0]
    groups = list(first.groups.values())
    assert [bar.get_width() for bar in axes.patches] == [g.miou for g in groups]
    spans = [tuple(line.get_xdata()) for line in axes.lines]
    assert {first.miou(g.key).interval for g in groups} <= set(spans)
    night = first.groups["acdc/night"]
    assert f"{night.miou:.1f}  ({first.relative(night.key).value:.0f} %)" in texts(axes.figure)


def test_bars_of_several_runs_say_what_was_not_tested(first, second):
    figure = figures.domain_bars([first, second], narrow=True)
    assert len(figure.axes[0].patches) == 9
    assert texts(figure).count("not tested") == 1
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["first", "second"]


def test_heat_map_of_classes(first):
    values = image(figures.class_heat_map(first))
    assert values.shape == (fake.N + 1, 5)
    night = list(first.groups).index("acdc/night")
    expected = [first.groups["acdc/night"].miou, *first.groups["acdc/night"].iou]
    np.testing.assert_allclose(values[:, night], expected)


def test_a_class_that_does_not_occur_has_neither_colour_nor_number(tested):
    data = fake.results_of(tested)
    group = data["groups"]["acdc/fog"]
    confusion = np.array(group["confusion"])
    confusion[3] = confusion[:, 3] = 0
    group.update(confusion=confusion.tolist(), **fake.figures(confusion))
    del data["summary"]
    run = parse_results(data)
    figure = figures.class_heat_map(run)
    column = list(data["groups"]).index("acdc/fog")
    assert image(figure).mask[4, column]
    absent = sum(np.isnan(g.iou).sum() for g in run.groups.values())
    assert image(figure).mask.sum() == absent
    assert len(texts(figure)) == (fake.N + 1) * 5 - absent


def test_many_domains_go_downwards(first):
    keys = [GroupKey(f"cityscapes_c/noise_{i}") for i in range(25)]
    groups = {key: replace(first.groups["acdc/fog"], key=key) for key in keys}
    run = replace(first, groups=groups, source=None)
    assert image(figures.class_heat_map(run)).shape == (25, fake.N + 1)


def test_difference_is_second_minus_first_on_common_domains(first, second):
    better = parse_results(
        {
            **fake.results_of([], "none"), "source": None,
            "groups": {
                "acdc/fog": {
                    "dataset": "acdc", "domain": "fog", "num_images": 1,
                    "confusion": np.diag([5] * fake.N).tolist(),
                    **fake.figures(np.diag([5] * fake.N)),
                }
            },
        }
    )  # fmt: skip
    values = image(figures.difference_heat_map(first, better))
    fog = first.groups["acdc/fog"]
    np.testing.assert_allclose(values[:, 0], [100 - fog.miou, *(100 - fog.iou)])
    figure = figures.difference_heat_map(first, second)
    assert image(figure).shape[1] == 4
    np.testing.assert_array_equal(image(figure), 0)
    assert set(texts(figure)) == {"0.0"}  # not "-0.0" or "+0.0"


def test_difference_needs_common_ground(first, tested):
    only = parse_results(fake.results_of([f for f in tested if "fog" in f.group]))
    rest = parse_results(fake.results_of([f for f in tested if "fog" not in f.group]))
    with pytest.raises(ValueError, match="no common domain"):
        figures.difference_heat_map(only, rest)
    other = {**fake.results_of(tested), "classes": [f"c{i}" for i in range(fake.N)]}
    with pytest.raises(ResultsError, match="another class set"):
        figures.difference_heat_map(first, parse_results(other))


def test_confusion_is_in_percent_of_the_truth():
    confusion = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 199]])
    figure = figures.confusion_heat_map(confusion, ["a", "b", "c"])
    values = image(figure)
    np.testing.assert_allclose(values[0], [75, 25, 0])
    assert values.mask[1].all()
    assert sorted(texts(figure)) == ["100", "25", "75"]  # 0.5 % carries no number


def test_domain_scores(first, tested):
    values = image(figures.domain_score_heat_map(first))
    scores = [g.domain_scores.mean for g in first.groups.values()]
    np.testing.assert_allclose(values, 100 * np.array(scores))
    data = fake.results_of(tested)
    data["groups"]["acdc/fog"]["domain_scores"] = {"names": ["a", "b"], "mean": [0.5, 0.5]}
    with pytest.raises(ValueError, match="different prompt banks"):
        figures.domain_score_heat_map(parse_results(data))
    for group in data["groups"].values():
        del group["domain_scores"]
    assert figures.domain_score_heat_map(parse_results(data)) is None


def test_the_same_results_give_the_same_files(first):
    for kind in ("png", "svg"):
        a, b = (figure_bytes(figures.domain_bars([first]), kind) for _ in range(2))
        assert a == b
    pixels = figure_pixels(figures.domain_bars([first]))
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
