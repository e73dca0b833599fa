"""``domino segment``: what a model sees in images and videos."""

from pathlib import Path

import click

from .arguments import Command, cfg_options, import_host, plain_errors, read_config


@click.command(cls=Command)
@click.argument("files", nargs=-1, metavar="[INPUT] CONFIG CHECKPOINT")
@click.option("--out", type=Path, default=Path("segmented"), show_default=True, help="Folder.")
@click.option("--labels", type=Path, metavar="DIR", help="Also write raw label maps, as PNG files.")
@click.option("--device", help="Such as cuda:0.  [default: the machine's best]")
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=0.55, show_default=True, help="Of classes."
)
@click.option("--force-domain", metavar="NAME", help="Take all images to be of this domain.")
@click.option("--web", is_flag=True, help="Open a page on this machine instead.")
@click.option("--port", type=int, default=7860, show_default=True, help="Of the page.")
@cfg_options
@click.pass_context
def segment(
    ctx, files, out, labels, device, opacity, force_domain, web, port,
    cfg_options,
) -> None:  # fmt: skip
    """Show what a Domino model sees in an image, a folder of images or a video.

    Each prediction is laid over its image, with the domain and its scores above and a legend of the
    classes below. `--web` opens a local page, where two domains can be compared side by side.

    \b
        domino segment street.jpg CONFIG CHECKPOINT
        domino segment frames/ CONFIG CHECKPOINT --force-domain night --labels maps/
        domino segment CONFIG CHECKPOINT --web
    """
    if len(files) != (2 if web else 3):
        raise click.UsageError(
            "give an image, a folder or a video, then CONFIG and CHECKPOINT; with --web only those"
        )
    *source, config, checkpoint = files
    import_host()
    from mmengine.device import get_device

    from ..apps.inference import init_domino_model
    from ..apps.pictures import PictureWriter
    from ..reporting import DomainLine

    with plain_errors():
        if source and not Path(source[0]).exists():
            raise FileNotFoundError(f"{source[0]} does not exist")
        cfg = read_config(config, cfg_options)
        model = init_domino_model(cfg, checkpoint, device or get_device())
        if web:
            from ..apps.web import serve

            serve(model, port)
            return
        writer = PictureWriter(model, out, opacity, force_domain, labels)
        writer.write(Path(source[0]))
    if writer.scores:
        click.echo(f"written: {len(writer.scores)} predictions and domains.csv in {out}")
    if len(writer.scores) == 1:
        prediction = writer.scores[0][1]
        click.echo(DomainLine(prediction.domain_names, prediction.domain_scores, prediction.forced))
    for message in writer.unreadable:
        click.echo(f"Error: {message}", err=True)
    ctx.exit(int(bool(writer.unreadable)))
