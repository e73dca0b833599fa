"""``domino verify``: models against what the original code computed."""

from pathlib import Path

import click

from .arguments import import_host, plain_errors


@click.command()
@click.argument("stem", type=Path)
@click.option(
    "--tolerance", type=float, default=2e-5, show_default=True, help="Largest relative difference."
)
@click.pass_context
def verify(ctx, stem, tolerance) -> None:
    """Check that models compute what the original code computed: VPD, Rein or SoMA.

    STEM.json says which, and holds the layers' configuration; STEM.weights.safetensors has the
    weights under their original names, STEM.activations.safetensors images and what the original
    computed with them. Prints the largest difference of each tensor relative to the stored one's
    largest magnitude. The exit code is 1 if one is not within the tolerance, 2 if the files cannot
    be used.
    """
    import_host()
    from ..models.verification import verify as compare

    with plain_errors(exit_code=2):
        differences = compare(stem)
    width = max(map(len, differences)) + 2
    # Written so that NaN does not pass.
    within = {name: difference <= tolerance for name, difference in differences.items()}
    for name, difference in differences.items():
        click.echo(f"{name:<{width}}{difference:>10.3e}  {'ok' if within[name] else 'DIFFERS'}")
    good = all(within.values())
    click.echo(f"{'all within' if good else 'NOT all within'} {tolerance:g}")
    ctx.exit(0 if good else 1)
