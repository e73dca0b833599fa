"""``domino segment``: what a model sees in images and videos."""

from pathlib import Path

import click

from .arguments import Command, cfg_options, import_host, plain_errors, read_config


@click.command(cls=Command)
@click.argument("files", nargs=-1, metavar="IMAGES... [CONFIG CHECKPOINT]")
@click.option("--model", metavar="FOLDER", help="A model of `domino export`.")
@click.option("--out", type=Path, default=Path("segmented"), show_default=True, help="Folder.")
@click.option("--labels", type=Path, metavar="DIR", help="Also write raw label maps, as PNG files.")
@click.option("--device", help="Such as cuda:0.  [default: the machine's best; --model: cpu]")
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=0.55, show_default=True, help="Of classes."
)
@click.option("--force-domain", metavar="NAME", help="Take all images to be of this domain.")
@click.option("--web", is_flag=True, help="Open a page on this machine instead.")
@click.option("--port", type=int, default=7860, show_default=True, help="Of the page.")
@cfg_options
@click.pass_context
def segment(
    ctx, files, model, out, labels, device, opacity, force_domain, web, port, cfg_options
) -> None:
    """Show what a Domino model sees in images, folders of images or videos.

    Each prediction is laid over its image, with the domain and its scores above and a legend of the
    classes below. `--web` opens a local page, where two domains can be compared side by side. An
    exported model runs without MMSegmentation.

    \b
        domino segment street.jpg CONFIG CHECKPOINT
        domino segment frames/ CONFIG CHECKPOINT --force-domain night --labels maps/
        domino segment frames/ drive.mp4 --model FOLDER
        domino segment CONFIG CHECKPOINT --web
    """
    if model is not None and (web or cfg_options or not files):
        raise click.UsageError("with --model give images, and neither --web nor --cfg-options")
    if model is None and (len(files) != 2 if web else len(files) < 3):
        raise click.UsageError(
            "give images, folders or videos, then CONFIG and CHECKPOINT (with --web only those), "
            "or --model FOLDER"
        )
    sources = [Path(file) for file in (files if model is not None else files[:-2])]
    with plain_errors():
        for source in sources:
            if not source.exists():
                raise FileNotFoundError(f"{source} does not exist")
        if model is not None:
            predict, classes, palette = _exported(model, device or "cpu", force_domain)
        else:
            built = _built(*files[-2:], cfg_options, device)
            if web:
                from ..apps.web import serve

                serve(built, port)
                return
            from ..apps.inference import predict_image

            classes, palette = built.dataset_meta["classes"], built.dataset_meta["palette"]

            def predict(image):
                return predict_image(built, image, force_domain)

        from ..inference.pictures import PictureWriter

        writer = PictureWriter(predict, classes, palette, out, opacity, labels)
        writer.write(*sources)
    _report(writer, out)
    ctx.exit(int(bool(writer.unreadable)))


def _exported(folder, device, force_domain):
    from ..inference import Segmenter

    segmenter = Segmenter(folder, device)
    return lambda image: segmenter(image, force_domain), segmenter.classes, segmenter.palette


def _built(config, checkpoint, cfg_options, device):
    import_host()
    from mmengine.device import get_device

    from ..apps.inference import init_domino_model

    cfg = read_config(config, cfg_options)
    return init_domino_model(cfg, checkpoint, device or get_device())


def _report(writer, out) -> None:
    from ..reporting import DomainLine

    if writer.scores:
        click.echo(f"written: {len(writer.scores)} predictions and domains.csv in {out}")
    if len(writer.scores) == 1:
        prediction = writer.scores[0][1]
        click.echo(DomainLine(prediction.domain_names, prediction.domain_scores, prediction.forced))
    for message in writer.unreadable:
        click.echo(f"Error: {message}", err=True)
