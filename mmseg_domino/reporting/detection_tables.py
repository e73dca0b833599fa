"""The tables of a detector's test."""

from ..metrics import DETECTION_KINDS, PRECISIONS, DetectionGroup, DetectionResults
from ..page import Table
from ..page.tables import Cell
from .tables import FEW_NOTE, cells, count_images

#: What tables and pages call the two kinds.
KIND_NAMES = dict(zip(DETECTION_KINDS, ("boxes", "masks"), strict=True))


def detection_table(results: DetectionResults) -> Table:
    """The table of a test: the targets' means, then one row a domain, the source last.

    Columns, for boxes and masks: AP with its 95 % interval (where one was computed), AP50, AP75 and
    the AP relative to the source, percent. Of a data set of corruptions the mean is mPC, and the
    relative one rPC.
    """
    intervals = any(figure.interval for figure in results.figures.values())
    relatives = results.source is not None and bool(results.targets)
    columns: list[str] = ["Domain", "Images", "Objects"]
    for kind in results.kinds:
        name = KIND_NAMES[kind]
        columns += [f"AP {name}", *["95 %"] * intervals, "AP50", "AP75"]
        columns += ["relative AP", *["95 %"] * intervals] if relatives else []
    rows: list[list[Cell]] = []

    def add(name: str, groups: list[DetectionGroup], where: str, average: str) -> None:
        objects = int(sum(group.objects.sum() for group in groups))
        row: list[Cell] = [name, count_images(groups), objects]
        for kind in results.kinds:
            for precision in PRECISIONS:
                figure = results.figures.get(f"{where}/{average}{kind}_{precision}")
                row += cells(figure, intervals and precision == "AP")
            if relatives:
                relative = results.figures.get(f"{where}/relative_{average}{kind}_AP")
                row += cells(relative, intervals)
        rows.append(row)

    if len(results.target_datasets) > 1:
        add("targets, mean", list(results.targets.values()), "targets", "mean_of_domains_")
    for dataset, groups in results.target_datasets.items():
        if len(groups) > 1:
            corrupted = f"{dataset}/mPC_{results.kinds[0]}" in results.figures
            title = "mPC" if corrupted else "mean of domains"
            add(f"{dataset}, {title}", groups, dataset, "mean_of_domains_")
    means = len(rows)
    for key, group in [*results.targets.items(), *results.groups.items()][: len(results.groups)]:
        add(key, [group], key, "")
    rules = {means} | ({len(rows) - 1} if relatives else set())
    notes = [FEW_NOTE] if any(group.few for group in results.groups.values()) else []
    title = f"{results.name}: average precision, percent"
    return Table(columns, rows, title, rules_before=sorted(rules), notes=notes)


def detection_class_table(results: DetectionResults, kind: str) -> Table:
    """AP by class and domain, percent."""
    rows = []
    for index, name in enumerate(results.classes):
        values = [float(g.precision[kind][index].mean()) for g in results.groups.values()]
        rows.append([name, *values])
    return Table(
        ["Class", *results.groups], rows, digits=1,
        title=f"{results.name}: AP of {KIND_NAMES[kind]} by class",
    )  # fmt: skip
