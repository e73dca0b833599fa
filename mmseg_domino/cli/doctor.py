"""``domino doctor``: what is installed, what is there, what fits."""

import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click

from .arguments import Command, cfg_options, config_file, quiet

if TYPE_CHECKING:
    from ..apps.installation import Finding

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command(cls=Command)
@click.argument("config", required=False, callback=config_file)
@click.option("--no-model", is_flag=True, help="Do not build the model of CONFIG.")
@cfg_options
@click.pass_context
def doctor(ctx, config, no_model, cfg_options) -> None:
    """Say what is installed, what fits and what is missing, with the command that mends it.

    With CONFIG: whether it can run here. Its data sets, embeddings and checkpoints are looked for,
    and its model is built with its weights. Nothing is fetched. The exit code is 1 if something
    stands in its way.
    """
    # Read when the libraries are imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from ..apps.installation import check_installation, check_machine

    problems = _show(chain(check_installation(), check_machine()))
    if problems:
        click.echo(f"{problems} problems with the installation; nothing else was looked at")
        ctx.exit(1)
    from ..apps.config_check import check_config, check_data, check_weights

    if config is None:
        problems = _show(chain(check_weights(), check_data()))
    else:
        problems = _show(check_config(config, cfg_options, model=not no_model))
        click.echo(f"{config} {'cannot run here' if problems else 'can run here'}")
    ctx.exit(int(bool(problems)))


def _show(findings: "Iterator[Finding]") -> int:
    """Print what is found as it is found; the number of problems."""
    problems = 0
    while True:
        # What the libraries say on the way is said here in other words.
        with quiet():
            finding = next(findings, None)
        if finding is None:
            return problems
        problems += finding.state == "problem"
        mark = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
        click.echo(f"{mark}{finding.subject}: {finding.text}")
        if finding.remedy:
            click.echo(f"            {finding.remedy}")
