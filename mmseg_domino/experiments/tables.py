"""The paper's tables: conditions as rows, mean and deviation over seeds, intervals over images."""

from collections.abc import Sequence

import numpy as np

from ..metrics import FEW_IMAGES, ResultsError, average, image_differences
from ..page import Estimate, Interval, Missing, Table
from .collect import Condition
from .statistics import paired_contrasts

Cell = Estimate | Interval | Missing | None


def _reason(condition: Condition) -> Missing:
    """Why a condition has no figure at all."""
    reasons = list(dict.fromkeys(run.reason.split(":")[0] for run in condition.absent))
    return Missing(" and ".join(reasons) or "missing")


def condition_estimate(condition: Condition, figure: str) -> Cell:
    """Mean and standard deviation (of the sample) of a figure over the seeds that have it.

    Returns:
        ``Missing`` if no seed has results, or they were not tested on it.
    """
    if not condition.present:
        return _reason(condition)
    found = [run.results.figures.get(figure) for run in condition.present]
    values = [f.value for f in found if f is not None]
    if not values:
        return Missing("not tested")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), std, len(values))


def condition_interval(condition: Condition, figure: str) -> Cell:
    """95 % interval, over images, of the mean over seeds."""
    if not condition.present:
        return _reason(condition)
    if any(run.results.images is None for run in condition.present):
        return Missing("no counts by image")
    found = [run.results.measured.get(figure) for run in condition.present]
    found = [measured for measured in found if measured is not None]
    bounds = average(found).interval() if found else None
    return None if bounds is None else Interval(*bounds)


def _datasets(conditions: Sequence[Condition]) -> list[str]:
    runs = [run.results for c in conditions for run in c.present]
    return list(dict.fromkeys(name for results in runs for name in results.target_datasets))


def _groups(conditions: Sequence[Condition]) -> list[str]:
    keys: dict[str, bool] = {}
    for results in (run.results for c in conditions for run in c.present):
        keys |= {key: key == results.source for key in results.groups}
    return sorted(keys, key=lambda key: not keys[key])


def _notes(conditions: Sequence[Condition]) -> list[str]:
    """What a reader must know before rows are compared."""
    runs = [(c.name, run) for c in conditions for run in c.present if run.results.images]
    notes: dict[str, None] = {}
    for name, run in runs[1:]:
        for key, text in image_differences(runs[0][1].results.images, run.results.images).items():
            notes[f"{name} and {runs[0][0]} were tested on {key} with {text}; their figures cannot "
                  "be compared there."] = None  # fmt: skip
    if any(group.few for _, run in runs for group in run.results.groups.values()):
        notes[
            f"A domain has fewer than {FEW_IMAGES} images: intervals are themselves uncertain."
        ] = None
    return list(notes)


def averages_table(conditions: Sequence[Condition], title: str = "") -> Table:
    """One row a condition: both averages of each target data set with the relative mIoUs beside
    them, then the source's mIoU.

    Every figure is mean ± standard deviation over seeds. The intervals are over images, of the
    mean over domains and of its relative mIoU. ``Seeds`` says how many have results and what
    became of the others; no condition is left out. Notes say where rows were tested on different
    images.
    """
    columns = ["Condition", "Seeds"]
    wanted: list[tuple[str, str]] = []
    for name in _datasets(conditions):
        for column, figure, with_interval in (
            (f"{name} mean of domains", "mean_of_domains", True),
            (f"{name} relative mIoU", "relative_mean_of_domains", True),
            (f"{name} pooled", "pooled", False),
            (f"{name} relative pooled", "relative_pooled", False),
        ):
            columns += [column] + [f"{column}, 95 % interval"] * with_interval
            wanted += [("estimate", f"{name}/{figure}")]
            wanted += [("interval", f"{name}/{figure}")] * with_interval
    columns.append("Source mIoU")
    wanted.append(("estimate", "source/mIoU"))
    cell = {"estimate": condition_estimate, "interval": condition_interval}
    rows = [
        [c.name, c.state, *(cell[kind](c, figure) for kind, figure in wanted)] for c in conditions
    ]
    return Table(columns, rows, title=title, notes=_notes(conditions))


def domains_table(conditions: Sequence[Condition], title: str = "") -> Table:
    """One row a condition: mIoU of each domain, mean ± standard deviation over seeds."""
    groups = _groups(conditions)
    rows = [
        [c.name, c.state, *(condition_estimate(c, f"{key}/mIoU") for key in groups)]
        for c in conditions
    ]
    columns = ["Condition", "Seeds", *groups]
    return Table(columns, rows, title=title, notes=_notes(conditions))


def differences_table(conditions: Sequence[Condition], title: str = "") -> Table:
    """One row a condition but the first: how it differs from the first, points.

    Differences are paired by seed and image, with 95 % intervals over both; see
    :data:`~mmseg_domino.experiments.statistics.RULE`.
    """
    datasets = _datasets(conditions)
    columns = ["Condition", "Seeds in common"]
    for name in datasets:
        for what in (f"{name} mean of domains", f"{name} relative mIoU"):
            columns += [f"{what}, difference", f"{what}, 95 % interval"]
    rows = []
    for condition in conditions[1:]:
        cells: list[Cell | str | int] = []
        reason, seeds = "no seed in common", 0
        try:
            contrasts = paired_contrasts(condition, conditions[0])
        except ResultsError:
            contrasts, reason = {}, "other images"
        for name in datasets:
            for figure in ("mean_of_domains", "relative_mean_of_domains"):
                found = contrasts.get(f"{name}/{figure}")
                missing = Missing(reason if not contrasts else "not tested")
                cells += [missing] * 2 if found is None else [
                    found.difference, Interval(found.low, found.high)
                ]  # fmt: skip
                seeds = max(seeds, found.seeds if found else 0)
        rows.append([condition.name, seeds, *cells])
    note = (
        f"Each minus {conditions[0].name}, paired by seed and image; with one seed the interval is "
        "over images alone."
    )
    return Table(columns, rows, title=title, notes=[note])
