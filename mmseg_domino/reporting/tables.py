"""The tables of one or several tests."""

from collections.abc import Sequence

from ..metrics import (
    FEW_IMAGES,
    Figure,
    Group,
    GroupResult,
    RunResults,
    check_same_classes,
    image_differences,
    paired_differences,
)
from ..page import Interval, Marked, Missing, Table
from ..page.tables import Cell

FEW_NOTE = f"* fewer than {FEW_IMAGES} images in a domain: the interval is itself uncertain."
#: Titles of the two averages.
_TITLES = {"mean_of_domains": "mean of domains", "pooled": "pooled"}


def cells(figure: Figure | None, interval: bool) -> list[Cell]:
    """A figure's value and, if asked for, its interval."""
    bounds = Interval(*figure.interval) if figure and figure.interval else None
    return [figure and figure.value, *([bounds] if interval else [])]


def count_images(groups: Sequence[Group]) -> Cell:
    """The number of images, marked if a group has few."""
    total = sum(group.num_images for group in groups)
    return Marked(total) if any(group.few for group in groups) else total


def domain_table(results: RunResults) -> Table:
    """The table of a test: the targets' averages, then one row a domain, the source last.

    Columns: images, mIoU and mIoU relative to the source, each with its 95 % interval (where one
    was computed), mAcc, aAcc and the subsets of the classes; all percent. Averages are given for
    data sets with more than one domain, and over several data sets.
    """
    intervals = any(figure.interval for figure in results.figures.values())
    relatives = results.source is not None and bool(results.targets)
    rows: list[list[Cell]] = []

    def add(name: str, groups: Sequence[GroupResult], where: str, miou: str, relative: str) -> None:
        row: list[Cell] = [name, count_images(groups)]
        for wanted, figure in ((True, miou), (relatives, relative)):
            if wanted:
                row += cells(results.figures.get(f"{where}/{figure}"), intervals)
        group = groups[0] if where == groups[0].key else None
        row += [group and group.macc, group and group.aacc]
        subsets = results.subset_mious(where) if group else {}
        rows.append(row + [subsets.get(name) for name in results.class_subsets])

    datasets = results.target_datasets
    averaged = {name: groups for name, groups in datasets.items() if len(groups) > 1}
    if len(datasets) > 1:
        averaged = {"targets": list(results.targets.values()), **averaged}
    for where, groups in averaged.items():
        label = "all targets" if where == "targets" else where
        for name, title in _TITLES.items():
            add(f"{label}, {title}", groups, where, name, f"relative_{name}")
    rules = [len(rows)]
    for group in results.targets.values():
        add(group.key, [group], group.key, "mIoU", "relative_mIoU")
    rules.append(len(rows))
    if (source := results.source_group) is not None:
        add(f"{source.key} (source)", [source], source.key, "mIoU", "relative_mIoU")
    columns = ["Domain", "Images", "mIoU"] + ["95 % interval"] * intervals
    if relatives:
        columns += ["Relative mIoU"] + ["Relative mIoU, 95 % interval"] * intervals
    columns += ["mAcc", "aAcc", *results.class_subsets]
    few = intervals and any(group.few for group in results.groups.values())
    return Table(columns, rows, results.name, rules_before=rules, notes=[FEW_NOTE] * few)


def class_table(results: RunResults) -> Table:
    """IoU by class (rows) and domain (columns), percent; the last row is the mIoU."""
    groups = list(results.groups.values())
    rows: list[list[Cell]] = [
        [name, *(float(g.iou[i]) for g in groups)] for i, name in enumerate(results.classes)
    ]
    rows.append(["mIoU", *(g.miou for g in groups)])
    columns = ["Class", *(g.key for g in groups)]
    title = f"{results.name}: IoU by class"
    return Table(columns, rows, title, rules_before=(len(rows) - 1,))


def calibration_table(results: RunResults) -> Table | None:
    """Calibration error and area under the risk-coverage curve by domain, ratios; ``None`` if the
    test did not measure them."""
    rows = [
        [group.key, group.calibration.ece_ratio, group.calibration.aurc_ratio]
        for group in results.groups.values()
        if group.calibration is not None
    ]
    columns = ["Domain", "Expected calibration error", "Area under risk-coverage"]
    return Table(columns, rows, f"{results.name}: calibration (ratios)", digits=4) if rows else None


def text_tables(results: RunResults) -> str:
    """Classes, calibration where it was measured, and the domains: for the terminal and the log."""
    tables = [class_table(results), calibration_table(results), domain_table(results)]
    return "\n".join(table.text() for table in tables if table is not None)


def image_notes(runs: Sequence[RunResults]) -> list[str]:
    """Where runs stand beside one another that were not tested on the same images."""
    notes = []
    first = runs[0]
    for run in runs[1:]:
        if first.images is None or run.images is None:
            notes.append(
                f"Whether '{run.name}' and '{first.name}' were tested on the same images is not "
                "known: counts by image are missing."
            )
            continue
        found = image_differences(first.images, run.images)
        notes += [
            f"'{run.name}' and '{first.name}' were tested on {key} with {text}; their figures "
            "cannot be compared there."
            for key, text in found.items()
        ]
    return notes


def comparison_table(runs: Sequence[RunResults]) -> Table:
    """One row a run: by target data set both averages, each with its relative mIoU beside it, then
    the mIoU of every domain.

    A domain that a run was not tested on is shown as missing. Notes say where runs were tested on
    different images.

    Raises:
        ResultsError: If the runs' class sets differ.
        ValueError: If there are no runs.
    """
    if not runs:
        raise ValueError("comparison_table needs at least one run")
    check_same_classes(runs)
    keys = list(dict.fromkeys(key for run in runs for key in run.groups))
    datasets: dict[str, int] = {}
    for run in runs:
        for name, groups in run.target_datasets.items():
            datasets[name] = max(datasets.get(name, 0), len(groups))
    columns: dict[str, str] = {}
    for name, number in datasets.items():
        if number > 1:
            for average, title in _TITLES.items():
                columns[f"{name}, {title}"] = f"{name}/{average}"
                columns[f"{name}, {title}, relative"] = f"{name}/relative_{average}"
        else:  # of a single domain both averages are its mIoU, which is there already
            columns[f"{name}, relative"] = f"{name}/relative_pooled"
    if not any(run.source for run in runs):
        columns = {title: name for title, name in columns.items() if "relative" not in name}
    columns |= {key: f"{key}/mIoU" for key in keys}
    rows = []
    for run in runs:
        found = [run.figures.get(name) for name in columns.values()]
        rows.append([run.name, *(Missing() if f is None else f.value for f in found)])
    return Table(["Run", *columns], rows, title="mIoU, percent", notes=image_notes(runs))


def difference_table(first: RunResults, second: RunResults) -> Table | None:
    """``second`` minus ``first``, points, with paired 95 % intervals; ``None`` without counts by
    image or a domain in common."""
    found = paired_differences(first, second)
    shown: dict[str, str] = {}
    for name, groups in first.target_datasets.items():
        if len(groups) > 1:
            for average, title in _TITLES.items():
                shown[f"{name}, {title}"] = f"{name}/{average}"
                shown[f"{name}, {title}, relative"] = f"{name}/relative_{average}"
    averages = sum(name in found for name in shown.values())
    shown |= {
        key: f"{key}/mIoU" for key in [*first.targets, *([first.source] if first.source else [])]
    }
    rows: list[list[Cell]] = []
    for title, name in shown.items():
        if name in found:
            interval = found[name].interval()
            rows.append([title, found[name].value, interval and Interval(*interval)])
    if not rows:
        return None
    return Table(
        ["mIoU of", "Difference", "95 % interval"], rows,
        f"'{second.name}' minus '{first.name}', points", rules_before=(averages,),
        notes=["Paired: both runs on the same images. An interval without 0 is a difference that "
               "the choice of images does not explain; what another seed gives is not in it."],
    )  # fmt: skip
