"""``domino report``: the HTML report and the tables of tests and sweeps."""

from pathlib import Path

import click

from .arguments import Command, plain_errors


@click.command(cls=Command)
@click.argument("work_dirs", nargs=-1, required=True, metavar="WORK_DIR...", type=Path)
@click.option("--out", type=Path, default=Path("report"), show_default=True, help="Folder.")
@click.option("--title", help="Heading of the report.  [default: the names of the runs]")
def report(work_dirs, out, title) -> None:
    """Report of tests, or tables of sweeps.

    Work folders of `domino test` give one HTML page, with its figures as PNG files; the first is
    the one that the others are compared with. Folders of sweeps, or folders above work folders,
    give tables in Markdown, CSV and LaTeX: mean and deviation over seeds, 95 % intervals. Runs of
    one config with several seeds are a row; a run that failed, or was planned and not run, is shown
    as such.
    """
    with plain_errors():
        if all((folder / "results.json").is_file() for folder in work_dirs):
            _page(work_dirs, out, title)
        else:
            _tables(work_dirs, out)


def _page(work_dirs: tuple[Path, ...], out: Path, title: str | None) -> None:
    from ..metrics import is_detection, load_detection_results
    from ..reporting import (
        comparison_table,
        detection_table,
        difference_table,
        domain_table,
        load_run,
        write_detection_report,
        write_report,
    )

    if is_detection(work_dirs[0]):
        page = write_detection_report(work_dirs, out, title)
        tables = [detection_table(load_detection_results(folder)) for folder in work_dirs]
        _tell(page, tables)
        return
    runs = [load_run(folder) for folder in work_dirs]
    page = write_report(runs, out, title)
    results = [run.results for run in runs]
    tables = [domain_table(results[0]) if len(results) == 1 else comparison_table(results)]
    tables += [difference_table(results[0], other) for other in results[1:]]
    _tell(page, tables)


def _tell(page: Path, tables: list) -> None:
    click.echo("\n".join(table.text() for table in tables if table is not None))
    size = page.stat().st_size / 2**20
    click.echo(f"written: {page} ({size:.1f} MiB, nothing else is needed), {page.parent}/figures")


def _tables(work_dirs: tuple[Path, ...], out: Path) -> None:
    from ..experiments import (
        averages_table,
        collect_conditions,
        differences_table,
        domains_table,
    )
    from ..utils import write_text

    conditions = collect_conditions(work_dirs)
    tables = {}
    for group in dict.fromkeys(c.group for c in conditions):
        members = [c for c in conditions if c.group == group]
        name = group or "runs"
        tables[name] = averages_table(members, f"{name}: averages over the target domains")
        tables[f"{name}_domains"] = domains_table(members, f"{name}: mIoU by domain")
        if len(members) > 1:
            title = f"{name}: differences from {members[0].name}"
            tables[f"{name}_differences"] = differences_table(members, title)
    for name, table in tables.items():
        click.echo(table.text())
        write_text(out / f"{name}.md", table.markdown())
        write_text(out / f"{name}.csv", table.csv())
        write_text(out / f"{name}.tex", table.latex())
    missing = sum(len(c.absent) for c in conditions)
    if missing:
        click.echo(f"{missing} of {sum(len(c.runs) for c in conditions)} runs have no results")
    click.echo(f"written to {out}/{{{','.join(tables)}}}.{{md,csv,tex}}")
