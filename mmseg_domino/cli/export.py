"""``domino export``: a trained model as files that need no training stack."""

from pathlib import Path

import click

from .arguments import Command, Several, cfg_options, import_host, plain_errors, read_config


@click.command(cls=Command)
@click.argument("config")
@click.argument("checkpoint")
@click.option("--out", type=Path, required=True, metavar="FOLDER", help="Where to.")
@click.option(
    "--format", "kind", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True,
    help="ONNX for onnxruntime, TensorRT and others, or PyTorch's own.",
)  # fmt: skip
@click.option("--no-encoder", is_flag=True, help="Leave out the encoder of the domain.")
@click.option("--half", is_flag=True, help="Compute in float16; needs --verify.")
@click.option(
    "--verify", cls=Several, type=Path, metavar="IMAGES ...",
    help="Compare with the checkpoint on these images or folders.",
)  # fmt: skip
@cfg_options
def export(config, checkpoint, out, kind, no_encoder, half, verify, cfg_options) -> None:
    """Export the model of CONFIG with the weights of CHECKPOINT.

    The folder holds the network, the encoder of the domain and model.json, which says everything
    that a program needs. `domino segment IMAGES --model FOLDER` and
    mmseg_domino.inference.Segmenter run it with onnxruntime or PyTorch alone.

    \b
        domino export CONFIG CHECKPOINT --out exported/ --verify images/
    """
    if half and not verify:
        raise click.UsageError("--half changes what the model says: give --verify IMAGES with it")
    import_host()
    from ..apps.export import export_model, summary

    with plain_errors():
        cfg = read_config(config, cfg_options)
        content = export_model(cfg, checkpoint, out, kind, not no_encoder, half, verify)
    click.echo(f"{summary(content)}\nwritten to {out}")
