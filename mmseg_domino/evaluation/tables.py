"""Results as text for the terminal and the log file."""

import numpy as np
from prettytable import PrettyTable

from ..metrics.results import EvaluationResults

__all__ = ["text_tables"]


def _figure(value: float | None, interval: tuple[float, float] | None = None) -> str:
    if value is None or np.isnan(value):
        return "-"
    text = f"{value:.2f}"
    return text if interval is None else f"{text} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _domains(results: EvaluationResults) -> PrettyTable:
    source = results.groups.get(results.source)
    subsets = list(next(iter(results.groups.values())).subsets)
    table = PrettyTable(
        ["domain", "images", "mIoU", "mAcc", "aAcc", "relative mIoU", *subsets],
    )
    for key, group in results.groups.items():
        relative = None
        if source is not None and group is not source and source.miou > 0:
            relative = 100 * group.miou / source.miou
        table.add_row(
            [
                key + (" (source)" if group is source else ""),
                group.num_images,
                _figure(group.miou, group.interval),
                _figure(group.macc),
                _figure(group.aacc),
                _figure(relative),
                *(_figure(group.subsets[name]) for name in subsets),
            ]
        )
    table.align = "r"
    table.align["domain"] = "l"
    return table


def _averages(results: EvaluationResults) -> PrettyTable:
    table = PrettyTable(["targets", "average", "mIoU", "relative mIoU"])
    names = {"mean_of_domains": "mean of domains", "pooled": "pooled"}
    for dataset, summary in results.summary.items():
        for name, title in names.items():
            relative = f"relative_{name}"
            table.add_row(
                [
                    dataset,
                    title,
                    _figure(getattr(summary, name), summary.intervals.get(name)),
                    _figure(getattr(summary, relative), summary.intervals.get(relative)),
                ]
            )
    if len(results.summary) > 1:
        for name, title in names.items():
            values = (results.targets.get(name), results.targets.get(f"relative_{name}"))
            table.add_row(["mean over data sets", title, *(_figure(v) for v in values)])
    table.align = "l"
    return table


def _classes(results: EvaluationResults) -> PrettyTable:
    table = PrettyTable(["IoU", *results.groups])
    for i, name in enumerate(results.classes):
        table.add_row([name, *(_figure(group.iou[i]) for group in results.groups.values())])
    table.align = "r"
    table.align["IoU"] = "l"
    return table


def _calibration(results: EvaluationResults) -> PrettyTable:
    table = PrettyTable(["domain", "ECE (ratio)", "AURC (ratio)"])
    for key, group in results.groups.items():
        c = group.calibration
        table.add_row([key, *(("-", "-") if c is None else map("{:.4f}".format, _pair(c)))])
    table.align = "l"
    return table


def _pair(calibration) -> tuple[float, float]:
    return calibration.ece_ratio, calibration.aurc_ratio


def text_tables(results: EvaluationResults) -> str:
    """Classes, domains, averages and, where measured, calibration; figures in percent."""
    tables = [_classes(results), _domains(results)]
    if results.summary:
        tables.append(_averages(results))
    if any(g.calibration for g in results.groups.values()):
        tables.append(_calibration(results))
    return "\n".join(table.get_string() for table in tables)
