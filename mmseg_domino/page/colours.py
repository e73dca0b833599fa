"""Colours that stay apart with colour-blindness, in print and on a phone."""

from collections.abc import Sequence

import numpy as np

#: The qualitative palette of Okabe and Ito (2008), without black and yellow, which are too close
#: to text and to paper.
RUNS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
#: A wrongly predicted pixel.
ERROR = "#D55E00"
#: Perceptually uniform and made for colour vision deficiency (Nuñez et al. 2018).
SEQUENTIAL = "cividis"
#: ColorBrewer's purple-orange: no red-green contrast.
DIVERGING = "PuOr_r"
#: With more runs than colours the pattern changes too.
HATCHES = ("", "///", "...", "xxx")


def run_colour(index: int) -> tuple[str, str]:
    """Colour and hatch of the bars of the ``index``-th run; distinct for 24 runs."""
    return RUNS[index % len(RUNS)], HATCHES[index // len(RUNS) % len(HATCHES)]


def luminance(rgb: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, 0 to 1 (WCAG 2.1)."""
    c = np.asarray(rgb[:3], dtype=np.float64)
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def text_on(rgb: Sequence[float]) -> str:
    """``'black'`` or ``'white'``, whichever contrasts more with the background."""
    # Equal contrast ratios (L + 0.05) / 0.05 = 1.05 / (L + 0.05) are at L = 0.179.
    return "black" if luminance(rgb) > 0.179 else "white"
