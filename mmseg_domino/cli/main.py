"""The group of all commands."""

import click

from ..version import __version__
from .arguments import Group
from .convert import convert
from .data import data
from .doctor import doctor
from .domains import domains
from .export import export
from .report import report
from .segment import segment
from .sweep import sweep
from .synthesise import synthesise
from .training import test, train
from .verify import verify
from .vpd import vpd


@click.group("domino", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="domino")
def main() -> None:
    """Domain-aware fine-tuning of foundation models for semantic segmentation."""


for command in (
    train, test, sweep, report, segment, export, domains, data, vpd, verify,
    convert, synthesise, doctor,
):  # fmt: skip
    main.add_command(command)
