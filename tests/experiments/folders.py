"""Work folders with invented counts, as domino test and a sweep leave them."""

import numpy as np

from mmseg_domino.experiments.record import RunRecord, write_record
from mmseg_domino.metrics import Counts, ImageCount, build_results, write_results

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
GROUPS = ("city/clear_day", "acdc/fog", "acdc/night")


def confusion(rng, right):
    """A confusion in which about a share ``right`` of the pixels lies on the diagonal.

    The label does not depend on it.
    """
    label, split = rng.integers(1000, 1200, size=3), rng.uniform(0.3, 0.7, size=3)
    hit = (label * min(right * rng.uniform(0.99, 1.0), 1)).astype(int)
    first = ((label - hit) * split).astype(int)
    counts = np.diag(hit)
    for i in range(3):
        counts[i, (i + 1) % 3], counts[i, (i + 2) % 3] = first[i], label[i] - hit[i] - first[i]
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
    run = {"name": folder.name, "seed": seed}
    results = build_results(counts, CLASSES, PALETTE, source=GROUPS[0], run=run)
    folder.mkdir(parents=True, exist_ok=True)
    write_results(results, folder / "results.json")
    if record is not None:
        write_record(folder, RunRecord(*record, seed, status="finished"))
    return results
