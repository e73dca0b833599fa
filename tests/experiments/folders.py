"""Work folders with invented counts, as domino test and a sweep leave them."""

import numpy as np

from mmseg_domino.experiments.record import RunRecord, write_record
from mmseg_domino.metrics.counts import Counts, ImageCount
from mmseg_domino.metrics.results import build_results

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
GROUPS = ("city/clear_day", "acdc/fog", "acdc/night")


def confusion(rng, right):
    """A confusion in which about a share ``right`` of the pixels lies on the diagonal."""
    counts = rng.integers(20, 60, size=(3, 3))
    counts[np.diag_indices(3)] = (rng.integers(900, 1100, size=3) * right).astype(int)
    return counts


def write_run(folder, seed=0, right=0.9, images=6, data_seed=0, record=None, luck=7):
    """Write a tested run; ``right`` moves all its figures, ``luck`` each image's a little."""
    counts = Counts()
    for number, group in enumerate(GROUPS):
        for index in range(images):
            rng = np.random.default_rng([data_seed, number, index])
            noise = np.random.default_rng([luck, seed, number, index]).normal(0, 0.01)
            matrix = confusion(rng, right - 0.1 * number + noise)
            counts.add(ImageCount(group, f"data/{group}/{index}.png", (64, 64), matrix))
    results = build_results(counts, CLASSES, PALETTE, source=GROUPS[0], resamples=50)
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "results.json", {"name": folder.name, "seed": seed})
    if record is not None:
        write_record(folder, RunRecord(*record, seed, status="finished"))
    return results
