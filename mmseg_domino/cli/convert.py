"""``domino convert``: published checkpoints of Rein, SoMA and VLTSeg."""

from pathlib import Path

import click

from .arguments import (
    Command,
    cfg_options,
    import_host,
    plain_errors,
    safetensors_file,
    show_keys,
    write_converted,
)


@click.command(cls=Command)
@click.argument("checkpoint", type=Path)
@click.argument("out", type=Path, callback=safetensors_file)
@click.option("--config", required=True, help="The recipe's config, for domino test.")
@click.option(
    "--backbone", type=Path,
    help="The pretrained backbone's published file, for a CHECKPOINT of adapters and head alone.",
)  # fmt: skip
@click.option(
    "--take", type=click.Choice(["state_dict", "ema_state_dict"]),
    help="Which weights, if CHECKPOINT has averaged ones, too; the report says what they are.",
)  # fmt: skip
@click.option("--merge", is_flag=True, help="Add SoMA's adapters to the weights (for tune=full).")
@cfg_options
def convert(checkpoint, out, config, backbone, take, merge, cfg_options) -> None:
    """Convert a published CHECKPOINT of Rein, SoMA or VLTSeg for this package's recipes.

    OUT (.safetensors) holds the whole model and goes into domino test CONFIG OUT. Every key that
    was not used is listed, and written with the rest of the report to OUT's name with .json for the
    ending.

    \b
        domino convert rein_head.pth rein.safetensors --backbone dinov2_vitl14_pretrain.pth \\
            --config configs/recipes/rein_dinov2-l_4xb2-40k_cityscapes-1024x1024.py
    """
    import_host()
    from mmengine.registry import init_default_scope

    from .. import engine
    from ..engine.published import convert_checkpoint

    init_default_scope("mmseg")
    with plain_errors():
        cfg = engine.load_config(config, overrides=cfg_options)
        state, report = convert_checkpoint(cfg, checkpoint, backbone, take, merge)
        write_converted(out, state, report)
    click.echo(f"{report['kind']}: {report['read']} tensors read from {report['taken']}")
    if report["from_backbone"]:
        click.echo(f"frozen weights: {report['from_backbone']}")
    click.echo(f"{report['written']} tensors written to {out}")
    if report["untrained"]:
        show_keys(report["untrained"], "begin untrained")
    show_keys(report["not_used"], "not used")
