"""``domino sweep``: many configs, several seeds."""

import signal
from pathlib import Path

import click

from .arguments import Command, Several, cfg_options, import_host, plain_errors


@click.command(cls=Command)
@click.argument("sets", nargs=-1, required=True, metavar="SET...")
@click.option("--seeds", cls=Several, type=int, default=(0, 1, 2), show_default=True)
@click.option("--work-dir", type=Path, default=Path("work_dirs/sweep"), show_default=True)
@click.option("--base", help="Config to stand in for the base that the sets name.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Runs at a time.")
@click.option("--threads", type=int, help="Of each run (OMP_NUM_THREADS, or processors / jobs).")
@click.option("--gpus", type=int, default=1, help="Processes of each run, under torchrun.")
@click.option("--hours", type=float, help="Start no further run after this time.")
@click.option("--discard-checkpoints", is_flag=True, help="Remove them once a run is tested.")
@click.option("--redo", is_flag=True, help="Start over, also what is finished in the work folder.")
@click.option("--list", "only_list", is_flag=True, help="Print the runs and do nothing.")
@cfg_options
@click.pass_context
def sweep(
    ctx, sets, seeds, work_dir, base, jobs, threads, gpus, hours, discard_checkpoints, redo,
    only_list, cfg_options,
) -> None:  # fmt: skip
    """Train and test every condition of a SET with several seeds.

    A set is one file; several, and plain configs, may be given. Each run has its own process and
    work folder, WORK_DIR/SET/CONDITION/seedN, with its frozen config. Killed and started again with
    the same command, the sweep goes on: finished runs stay, a half-trained one continues from its
    last checkpoint, failed ones are tried again. A failed run does not stop the others; the exit
    code is then 1. `domino report` makes the tables.

    \b
        domino sweep configs/ablation/injection.py --seeds 0 1 2
        domino sweep configs/ablation/injection.py --base configs/domino_vpd_mini.py
    """
    import_host()
    from ..experiments import Resources, Sweep, clock, plan_runs

    # As Ctrl-C: the runs are stopped, and the next call goes on.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with plain_errors(exit_code=2):
            runs = plan_runs(sets, seeds, base)
            if only_list:
                click.echo("\n".join(f"{run.folder}  {run.source.path}" for run in runs))
                return
            report = Sweep(
                runs, work_dir, Resources(jobs, threads, gpus, hours), cfg_options,
                discard_checkpoints=discard_checkpoints, redo=redo, say=click.echo,
            ).execute()  # fmt: skip
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from here", err=True)
        ctx.exit(130)
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(f"{len(report.finished)} of {len(runs)} runs finished ({report.reused} before)")
    for run, reason in report.failed.items():
        click.echo(f"failed: {run.label}: {reason}\n    {work_dir / run.folder}/sweep.log")
    if report.left:
        click.echo(f"{len(report.left)} runs are left for the next call ({clock(3600 * hours)})")
    click.echo(f"tables: domino report {work_dir}")
    ctx.exit(0 if report.complete else 1)
