"""``domino vpd``: files of the published VPD code and of Stable Diffusion."""

from pathlib import Path

import click

from .arguments import (
    Group,
    Several,
    import_host,
    plain_errors,
    safetensors_file,
    show_keys,
    write_converted,
)


@click.group(cls=Group)
def vpd() -> None:
    """Checkpoints and class embeddings for DominoVPD."""


@vpd.command()
@click.argument("checkpoint", type=Path)
@click.argument("out", type=Path, callback=safetensors_file)
@click.option(
    "--domino-neck", is_flag=True,
    help="The config's neck is a DominoNorm around the original's FPN (the flagship's is).",
)  # fmt: skip
def convert(checkpoint, out, domino_neck) -> None:
    """Convert a segmentation CHECKPOINT of the published VPD code.

    OUT goes into a config as load_from. Values and types stay as they are. Every key that was not
    used is listed, and written to OUT's name with .json for the ending.
    """
    from ..models.diffusion.files import read_state_dict
    from ..models.diffusion.published_checkpoints import convert_published_vpd

    with plain_errors():
        state = read_state_dict(checkpoint)
        converted, unused = convert_published_vpd(state, domino_neck)
        report = {"read": len(state), "written": len(converted), "not_used": unused}
        write_converted(out, converted, report)
    click.echo(f"{len(state)} tensors read, {len(converted)} written to {out}")
    show_keys(unused, "not used")


@vpd.command()
@click.argument("out", type=Path, callback=safetensors_file)
@click.option("--classes", cls=Several, metavar="NAME ...", help="The class names.")
@click.option("--names", type=Path, help="A text file with a name a line.")
@click.option("--dataset", help="A data set whose classes MMSegmentation knows.")
@click.option("--weights", help="Diffusers folder, hub name or original file.")
@click.option("--text-encoder", help="Diffusers folder, hub name, open_clip:MODEL:TAG.")
def embed(out, classes, names, dataset, weights, text_encoder) -> None:
    """Embed class names as VPD does: 80 templates through CLIP's text tower.

    OUT goes into a config as DominoVPD's `classes.embeddings`. Take the text tower of the weights
    that the UNet comes from: its cross-attention was trained on that tower's states. One of
    --classes, --names and --dataset, and one of --weights and --text-encoder, is needed.

    \b
        domino vpd embed OUT.safetensors --dataset cityscapes --weights SD_FOLDER
        domino vpd embed OUT.safetensors --classes road "traffic light" \\
            --text-encoder open_clip:ViT-L-14:openai
    """
    if sum(map(bool, (classes, names, dataset))) != 1:
        raise click.UsageError("give one of --classes, --names and --dataset")
    if (weights is None) == (text_encoder is None):
        raise click.UsageError("give one of --weights and --text-encoder")
    import_host()
    from mmseg.utils import get_classes

    from ..models.diffusion.class_embeddings import embed_classes
    from ..models.diffusion.text_towers import open_text_tower
    from ..models.diffusion.weights import open_weights
    from ..utils import read_text

    with plain_errors():
        if dataset:
            classes = get_classes(dataset)
        elif names:
            lines = read_text(names).splitlines()
            classes = [line.strip() for line in lines if line.strip()]
        # A tower of its own needs no diffusion weights.
        tower = open_text_tower(text_encoder, open_weights(weights) if weights else None)
        embeddings = embed_classes(tower, list(classes), out=out)
    count, width = embeddings.shape
    norm = embeddings.norm(dim=1).mean().item()
    click.echo(f"{count} classes, {width} wide, mean norm {norm:.1f}, by {tower.name}: {out}")
