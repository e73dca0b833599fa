"""Colours must stay apart for readers with colour-blindness and in a grey print."""

import itertools

import matplotlib
import numpy as np
import pytest

from mmseg_domino.page.colours import DIVERGING, RUNS, SEQUENTIAL, run_colour, text_on

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


def lab(colour, deficiency) -> np.ndarray:
    """CIELAB of an sRGB colour as seen with a deficiency."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (DEFICIENCIES[deficiency] @ linear).clip(0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / (0.9505, 1, 1.089)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_runs_are_told_apart(deficiency):
    # A difference of 2.3 is just noticeable side by side; bars are looked up in a legend.
    for a, b in itertools.combinations(RUNS[:4], 2):
        assert np.linalg.norm(lab(a, deficiency) - lab(b, deficiency)) > 12, (a, b)


def test_many_runs_differ_in_colour_or_pattern():
    assert len({run_colour(i) for i in range(24)}) == 24


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_heat_map_grows_lighter_throughout(deficiency):
    scale = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 1, 21))
    lightness = [lab(c[:3], deficiency)[0] for c in scale]
    assert (np.diff(lightness) > 1.5).all()


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_better_and_worse_are_told_apart(deficiency):
    scale = matplotlib.colormaps[DIVERGING]
    for strength in (0.15, 0.3, 0.45):
        worse, better = (lab(scale(0.5 + s * strength)[:3], deficiency) for s in (-1, 1))
        assert np.linalg.norm(worse - better) > 12


def test_text_is_legible_on_every_cell():
    def ratio(a, b):
        low, high = sorted((a, b))
        return (high + 0.05) / (low + 0.05)

    from mmseg_domino.page.colours import luminance

    for name in (SEQUENTIAL, DIVERGING):
        for colour in matplotlib.colormaps[name](np.linspace(0, 1, 64)):
            text = matplotlib.colors.to_rgb(text_on(colour))
            assert ratio(luminance(text), luminance(colour)) >= 4.5  # WCAG AA
