"""``domino synthesise``: images of other domains from label maps."""

from pathlib import Path

import click

from .arguments import (
    Command,
    best_device,
    cfg_options,
    config_file,
    import_host,
    join_processes,
    plain_errors,
    read_config,
)


@click.command(cls=Command)
@click.argument("config", callback=config_file)
@click.option("--domains", required=True, help="Keys of the bank, joined by commas.")
@click.option("--out", type=Path, required=True, help="Folder of the new data set.")
@click.option("--per-label", type=int, default=1, show_default=True, help="Images a label, domain.")
@click.option("--bank", help="Prompt bank: a name or file.  [default: the config's, else acdc]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--limit", type=int, help="Source images at most, spread evenly.")
@click.option("--batch-size", type=int, default=1, show_default=True, help="Images at once.")
@click.option("--loader", default="train_dataloader", show_default=True)
@click.option("--device", help="cuda:1, cpu.  [default: this process's GPU, if any]")
@click.option("--min-free", type=float, default=2.0, show_default=True, help="GiB to leave free.")
@click.option("--examples", type=int, default=8, help="Images a domain in the summary page.")
@cfg_options
def synthesise(config, domains, out, device, examples, cfg_options, **plan) -> None:
    """Make images of other domains from a data set's labels; keep those that fit.

    CONFIG is any config with a data set: the images of its `train_dataloader` are used (--loader).
    What makes and judges the images is its `synthesis = dict(generator=..., gate=...)`; a config
    without one gets Stable Diffusion 1.5 with a segmentation ControlNet and no thresholds. Killed
    and started again, it goes on where it was. Several GPUs share the work:

    \b
        domino synthesise configs/synthesis/controlnet_cityscapes.py \\
            --domains fog,night,rain,snow --out data/synthetic/cityscapes
        torchrun --nproc-per-node 4 -m mmseg_domino synthesise ...
    """
    import_host()
    from ..apps.synthesis import synthesise_config

    with join_processes(hours=6) as (rank, processes), plain_errors():
        cfg = read_config(config, cfg_options)
        names = [name.strip() for name in domains.split(",") if name.strip()]
        report, page = synthesise_config(
            cfg, out, names, device or best_device(), examples, rank, processes, **plan
        )
    if rank == 0:
        kept, rejected = report.count("kept"), report.count("rejected")
        for domain in sorted(kept.keys() | rejected.keys()):
            click.echo(f"{domain:<12} {kept[domain]:>6} kept {rejected[domain]:>6} rejected")
        click.echo(f"{report.made} made now by this process. Look at {page}")
