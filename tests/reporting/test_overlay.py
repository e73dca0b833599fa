import numpy as np
import pytest

from mmseg_domino.reporting import DomainLine, annotate, overlay

from . import fake


def test_overlay_is_the_weighted_mean_of_image_and_class_colours():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, fake.N, (6, 8)).astype(np.uint8)
    labels[0, 0] = 255
    mixed = overlay(image, labels, fake.PALETTE, 0.25)
    for y, x in np.ndindex(6, 8):
        colour = image[y, x] if labels[y, x] == 255 else fake.PALETTE[labels[y, x]]
        expected = 0.75 * image[y, x] + 0.25 * np.array(colour)
        np.testing.assert_allclose(mixed[y, x], expected, atol=0.51)
    np.testing.assert_array_equal(overlay(image, labels, fake.PALETTE, 0), image)
    assert mixed.dtype == np.uint8


def test_overlay_refuses_what_does_not_fit():
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\(4, 6\), the labels are \(4, 5\)"):
        overlay(image, np.zeros((4, 5), np.uint8), fake.PALETTE)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        overlay(image, np.zeros((4, 6), np.uint8), fake.PALETTE, 1.5)


def test_the_line_names_the_likeliest_three_and_what_is_forced():
    names, scores = ("clear_day", "fog", "night", "rain"), (0.2, 0.5, 0.28, 0.02)
    assert str(DomainLine(names, scores)) == "domain: fog 50 %, night 28 %, clear day 20 %"
    assert str(DomainLine(names, scores, "rain")).startswith("forced: rain, domain: fog 50 %")
    assert str(DomainLine(forced="clear_day")) == "forced: clear day"
    assert str(DomainLine()) == "no domain predicted"


def legend_colours(picture, height):
    """Colours of the strip below a picture of ``height`` rows that are no text and no paper."""
    strip = picture[height:].reshape(-1, 3)
    colours, counts = np.unique(strip, axis=0, return_counts=True)
    return {tuple(map(int, c)) for c, n in zip(colours, counts, strict=True) if n > 60}


def test_the_legend_lists_the_classes_that_occur_and_keeps_the_picture():
    labels = np.zeros((100, 300), np.uint8)
    labels[:40] = 10  # sky
    labels[60:70, 50:90] = 13  # car, 1.3 %
    labels[0, :5] = 7  # too little for a legend
    labels[-5:] = 255
    picture = np.full((100, 300, 3), 77, np.uint8)
    result = annotate(picture, labels, fake.CLASSES, fake.PALETTE, DomainLine(("fog",), (1.0,)))
    assert result.shape[1] == 300
    [start] = [i for i in range(len(result) - 99) if (result[i : i + 100] == 77).all()]
    assert 15 < start < 40  # one line above
    colours = legend_colours(result, start + 100)
    assert {fake.PALETTE[c] for c in (0, 10, 13)} <= colours
    assert fake.PALETTE[7] not in colours
    assert fake.PALETTE[2] not in colours


def test_text_goes_on_in_the_next_line_where_a_picture_is_narrow():
    labels = np.arange(19, dtype=np.uint8).repeat(10).reshape(1, 190).repeat(20, axis=0)
    line = DomainLine(("clear_day", "fog", "night"), (0.5, 0.3, 0.2), "fog")

    def strips(width):
        picture = np.full((20, width, 3), 7, np.uint8)
        part = labels[:, np.linspace(0, 189, width).astype(int)]
        result = annotate(picture, part, fake.CLASSES, fake.PALETTE, line)
        rows = np.flatnonzero((result == 7).all(axis=(1, 2)))
        shown = legend_colours(result, rows[-1] + 1)
        assert set(fake.PALETTE) <= shown  # nothing fell off the edge
        return rows[0], len(result) - rows[-1]

    narrow, wide = strips(180), strips(700)
    assert narrow[0] > wide[0]
    assert narrow[1] > wide[1]
