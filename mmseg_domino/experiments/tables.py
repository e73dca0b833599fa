"""The paper's tables: conditions as rows, mean and deviation over seeds, intervals over images."""

from collections.abc import Sequence

import numpy as np

from ..metrics import percentile_interval
from ..reporting import Estimate, Interval, Missing, Table
from .collect import Condition, SeedRun
from .statistics import resampled_figures, run_figures

__all__ = ["averages_table", "condition_estimate", "condition_interval", "domains_table"]

Cell = Estimate | Interval | Missing | None


def _reason(condition: Condition) -> Missing:
    """Why a condition has no figure at all."""
    reasons = list(dict.fromkeys(run.reason.split(":")[0] for run in condition.absent))
    return Missing(" and ".join(reasons) or "missing")


def condition_estimate(condition: Condition, figure: str) -> Cell:
    """Mean and standard deviation (of the sample) of a figure over the seeds that have it.

    Args:
        figure: As of :func:`~mmseg_domino.experiments.statistics.run_figures`.

    Returns:
        ``Missing`` if no seed has results, or they were not tested on it.
    """
    if not condition.present:
        return _reason(condition)
    values = [run_figures(run.results).get(figure) for run in condition.present]
    values = [v for v in values if v is not None]
    if not values:
        return Missing("not tested")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Estimate(float(np.mean(values)), std, len(values))


def condition_draws(
    runs: Sequence[SeedRun], resamples: int = 1000, seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """The resampled figures of each seed, with the same resamples of the images in all.

    Raises:
        ValueError: If a run has no pixel counts by image.
    """
    for run in runs:
        if run.images is None:
            raise ValueError(f"{run.folder} has no per_image.safetensors; run the test again")
    return [resampled_figures(r.images, r.results.source, resamples, seed) for r in runs]


def condition_interval(condition: Condition, figure: str, resamples: int = 1000) -> Cell:
    """95 % bootstrap interval, over images, of the mean over seeds."""
    if not condition.present:
        return _reason(condition)
    if any(run.images is None for run in condition.present):
        return Missing("no counts by image")
    draws = [d.get(figure) for d in condition_draws(condition.present, resamples)]
    draws = [d for d in draws if d is not None]
    bounds = percentile_interval(np.mean(draws, axis=0)) if draws else None
    return None if bounds is None else Interval(*bounds)


def _datasets(conditions: Sequence[Condition]) -> list[str]:
    runs = [run.results for c in conditions for run in c.present]
    return list(dict.fromkeys(name for results in runs for name in results.summary))


def _groups(conditions: Sequence[Condition]) -> list[str]:
    keys: dict[str, bool] = {}
    for results in (run.results for c in conditions for run in c.present):
        keys |= {key: key == results.source for key in results.groups}
    return sorted(keys, key=lambda key: not keys[key])


def averages_table(
    conditions: Sequence[Condition], title: str = "", labels: Sequence[str] = ()
) -> Table:
    """One row a condition: source mIoU, then both averages of each target data set.

    Every figure is mean ± standard deviation over seeds. The intervals are over images, of the
    mean over domains and of its relative mIoU. ``Seeds`` says how many have results and what
    became of the others; no condition is left out.

    Args:
        conditions: At least one.
        title: Caption.
        labels: Names of the rows; those of the conditions by default.
    """
    labels = labels or [c.name for c in conditions]
    datasets = _datasets(conditions)
    columns = ["Condition", "Seeds", "Source mIoU"]
    for name in datasets:
        columns += [
            f"{name} mean of domains", f"{name} mean, 95 % interval", f"{name} pooled",
            f"{name} relative mIoU", f"{name} relative, 95 % interval",
            f"{name} relative pooled",
        ]  # fmt: skip
    rows = []
    for label, condition in zip(labels, conditions, strict=True):
        cells = [label, condition.state, condition_estimate(condition, "source")]
        for name in datasets:
            mean, relative = f"{name}/mean_of_domains", f"{name}/relative_mean_of_domains"
            cells += [
                condition_estimate(condition, mean),
                condition_interval(condition, mean),
                condition_estimate(condition, f"{name}/pooled"),
                condition_estimate(condition, relative),
                condition_interval(condition, relative),
                condition_estimate(condition, f"{name}/relative_pooled"),
            ]
        rows.append(cells)
    return Table(columns, rows, title=title)


def domains_table(
    conditions: Sequence[Condition], title: str = "", labels: Sequence[str] = ()
) -> Table:
    """One row a condition: mIoU of each domain, mean ± standard deviation over seeds."""
    labels = labels or [c.name for c in conditions]
    groups = _groups(conditions)
    rows = [
        [label, condition.state, *(condition_estimate(condition, key) for key in groups)]
        for label, condition in zip(labels, conditions, strict=True)
    ]
    return Table(["Condition", "Seeds", *groups], rows, title=title)
