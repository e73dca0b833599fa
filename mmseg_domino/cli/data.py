"""``domino data``: checking and converting data sets, and the embedded one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import (
    Group,
    Several,
    cfg_options,
    config_file,
    data_roots,
    import_host,
    plain_errors,
    read_config,
    workers,
)

if TYPE_CHECKING:
    from ..datasets.checking import DatasetCheck

_LOADERS = ("train", "val", "test")


@click.group(cls=Group)
def data() -> None:
    """Data sets: check, convert labels, make the embedded one."""


@data.command()
@click.argument("config", callback=config_file)
@click.option("--loaders", cls=Several, type=click.Choice(_LOADERS), default=_LOADERS)
@click.option("--limit", type=int, help="Look at so many images of each data set.")
@workers
@click.option("--show", type=int, default=10, show_default=True, help="Bad files to print.")
@click.option("--any-count", is_flag=True, help="Numbers of images may differ from the published.")
@click.option("--any-size", is_flag=True, help="Sizes of images may differ from the published.")
@data_roots
@cfg_options
@click.pass_context
def check(
    ctx, config, loaders, limit, workers, show, any_count, any_size, data_root, cfg_options
) -> None:
    """Check the files of CONFIG's data sets: counts, pairs, sizes, label values, damage.

    Prints one row a data set and domain, and the first bad files. The exit code is 1 if anything is
    wrong.
    """
    import_host()
    from mmengine.registry import init_default_scope
    from tqdm import tqdm

    from ..datasets import set_data_roots
    from ..datasets.checking import check_loader

    init_default_scope("mmseg")
    with plain_errors():
        cfg = read_config(config, cfg_options)
        set_data_roots(cfg, data_root)
    rows, errors, seen = [], [], []
    for loader in loaders:
        settings = cfg.get(f"{loader}_dataloader")
        if settings is None or settings["dataset"] in seen:
            continue
        seen.append(settings["dataset"])
        checks, failed = check_loader(
            settings, limit, workers,
            lambda items, total: tqdm(items, total=total, unit="image", leave=False),
        )  # fmt: skip
        rows += [(loader, check) for check in checks]
        errors += failed
    click.echo(_check_table(rows))
    problems = [message for _, check in rows for message in check.problems.values()]
    problems += [f"{path} has no image" for _, check in rows for path in check.orphans]
    notes = [f"note: {message}" for _, check in rows for message in check.notes.values()]
    for message in notes[:show]:
        click.secho(message, fg="yellow")
    for message in [*errors, *problems[:show]]:
        click.secho(message, fg="red")
    if len(problems) > show:
        click.echo(f"... and {len(problems) - show} more")
    counts_wrong = not any_count and any(not check.count_is_right for _, check in rows)
    if counts_wrong:
        click.echo("some numbers of images are not the published ones (--any-count to allow)")
    sizes_wrong = not any_size and any(not check.sizes_are_right for _, check in rows)
    if sizes_wrong:
        click.echo("some sizes of images are not the published ones (--any-size to allow)")
    ctx.exit(int(bool(errors or problems or counts_wrong or sizes_wrong)))


def _check_table(rows: "list[tuple[str, DatasetCheck]]") -> str:
    from ..page import Table

    cells = []
    for loader, check in rows:
        count = str(check.images)
        if not check.count_is_right:
            all_groups = f"{check.counted} in all, " if check.counted != check.images else ""
            count += f" ({all_groups}published: {check.expected})"
        sizes = ", ".join(f"{w}x{h}" for (w, h), _ in check.sizes.most_common(3))
        if len(check.sizes) > 3:
            sizes += f" and {len(check.sizes) - 3} more"
        if not check.sizes_are_right:
            sizes += " (published: {}x{})".format(*check.expected_size)
        bad = len(check.problems) + len(check.orphans)
        absent = ", ".join(check.absent)
        cells.append([loader, check.group, count, check.labelled, sizes, bad, absent])
    columns = "loader,data set / domain,images,labelled,sizes,bad,absent classes"
    return Table(columns.split(","), cells, "Data sets").text()


@data.command()
@click.argument(
    "dataset",
    type=click.Choice(
        ["cityscapes", "cityscapes-instances", "gta5", "mapillary", "muses", "synthia", "wilddash2"]
    ),
)
@click.argument("root", type=Path)
@click.option("--out", type=Path, help="Write below this folder instead, for a read-only ROOT.")
@click.option("--version", type=click.Choice(["1.2", "2.0"]), default="1.2", help="Of Mapillary.")
@click.option("--splits", cls=Several, default=("validation",), help="Of Mapillary.")
@workers
@click.option("--overwrite", is_flag=True, help="Convert existing ones again.")
def convert(dataset, root, out, version, splits, workers, overwrite) -> None:
    """Make trainId labels of DATASET's original ones below ROOT.

    cityscapes-instances makes COCO files of Cityscapes' polygons, for detectors.

    ROOT is the folder that holds gtFine (Cityscapes), labels (GTA5), training and validation
    (Mapillary Vistas), gt_panoptic (MUSES), GT (SYNTHIA) or panoptic.json (WildDash 2).
    """
    import_host()
    if dataset == "cityscapes-instances":
        with plain_errors():
            from ..detection import convert_instances

            for file in convert_instances(root):
                click.echo(f"written: {file}")
        return
    from ..datasets.converters import convert_dataset

    with plain_errors():
        written, total = convert_dataset(
            dataset, root, out, version, splits, workers=workers, overwrite=overwrite
        )
    click.echo(f"{written} of {total} labels converted, the others were there")


@data.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.pass_context
def mini(ctx) -> None:
    """Make the embedded street world and its miniature models (python -m street_world)."""
    try:
        from street_world.__main__ import main
    except ImportError as error:
        raise click.ClickException(
            "the street world is a package of its own: pip install 'mmseg_domino[demo]', or in a "
            f"checkout pip install ./street_world ({error})"
        ) from error
    with plain_errors():
        main(ctx.args, prog="domino data mini")
