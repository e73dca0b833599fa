"""``domino domains``: prompt banks, embedding stores and what they tell apart."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import (
    Group,
    Several,
    best_device,
    config_file,
    import_host,
    join_processes,
    plain_errors,
)

if TYPE_CHECKING:
    from ..apps.analysis import DomainAnalysis
    from ..domain.extraction import ExtractionReport

_SPLITS = ("train", "val", "test")


@click.group(cls=Group)
def domains() -> None:
    """Domain embeddings: prompt banks, extraction, checks, analysis."""


@domains.command()
@click.argument("bank", required=False)
def banks(bank) -> None:
    """List the prompt banks, or show BANK, a name or file, with all its prompts."""
    from ..domain import list_prompt_banks, load_prompt_bank

    if bank is None:
        for name, description in list_prompt_banks().items():
            found = load_prompt_bank(name)
            prompts = sum(len(domain.prompts) for domain in found.domains)
            click.echo(f"{name:<12} {len(found):>3} domains {prompts:>4} prompts  {description}")
        return
    with plain_errors():
        found = load_prompt_bank(bank)
    click.echo(f"{found.name}: {found.description}\nsha256 {found.sha256}")
    for domain in found.domains:
        click.echo("\n    ".join([f"\n{domain.key}", *domain.prompts]))


def _images_options(command):
    for option in (
        click.option("--root", type=Path, help="Name images by their path from here."),
        click.option(
            "--splits", cls=Several, type=click.Choice(_SPLITS), default=_SPLITS,
            show_default=True, help="Of a config.",
        ),
        click.option("--out", type=Path, help="The store.  [default: the config's]"),
        click.argument("images", metavar="CONFIG_OR_FOLDER", callback=config_file),
    ):  # fmt: skip
        command = option(command)
    return command


def _declared(images: str) -> Mapping:
    """What a config says of its store and encoder."""
    from ..apps.config_images import is_config

    if not is_config(images) or not Path(images).is_file():
        return {}
    from mmengine.config import Config

    return Config.fromfile(images).get("domino") or {}


def _store_of(images: str, out: Path | None, declared: Mapping) -> Path:
    if out is None and declared.get("store") is None:
        raise click.UsageError(f"{images} names no store (domino.store): give --out FILE")
    return out or Path(declared["store"])


@domains.command()
@_images_options
@click.option("--bank", help="Prompt bank: a name or file.  [default: the config's, else acdc]")
@click.option("--model", help="open_clip model, folder or JSON file.  [default: ViT-L-14]")
@click.option("--pretrained", help="Its tag, checkpoint file or 'random'.  [default: openai]")
@click.option("--cache-dir", help="Where open_clip keeps what it fetches.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32")
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--workers", type=int, default=min(8, os.cpu_count() or 1), help="Decoders.")
@click.option("--device", help="cuda, cuda:1, cpu.  [default: a GPU if there is one]")
@click.option("--skip-bad", is_flag=True, help="Leave damaged images out.")
def extract(
    images, out, splits, root, bank, model, pretrained, cache_dir, precision, batch_size, workers,
    device, skip_bad,
) -> None:  # fmt: skip
    """Embed all images of a data set with CLIP into one store.

    What is not given is what the config's `domino` names: its store, and its encoder's model and
    bank. Killed and started again, it continues and gives the same file. Given an existing store,
    it adds the images that the store lacks. Several processes share the work:

    \b
        domino domains extract CONFIG_OR_FOLDER --bank acdc --out STORE.safetensors
        torchrun --nproc-per-node 4 -m mmseg_domino domains extract ...
    """
    import_host()
    from ..apps.config_images import images_by_key
    from ..domain import DomainEncoder
    from ..domain.extraction import extract as extract_store

    declared = _declared(images)
    out = _store_of(images, out, declared)
    encoder = declared.get("encoder") or {}
    # A model's tag, and its layer, are no other model's.
    layer = None
    if model is None and pretrained is None:
        model, pretrained, layer = map(encoder.get, ("model", "pretrained", "context_layer"))
    bank = bank or encoder.get("bank", "acdc")
    with plain_errors():
        files = images_by_key(images, splits, root)
    # Embeddings go through files, only names between the processes, at the end.
    with join_processes(hours=48) as (rank, processes), plain_errors():
        clip = DomainEncoder(
            model or "ViT-L-14", pretrained or "openai", bank, precision, cache_dir=cache_dir,
            context_layer=layer,
        ).to(device or best_device())  # fmt: skip
        report = extract_store(
            files, clip, out, batch_size=batch_size, workers=workers, skip_bad=skip_bad,
            progress=True,
        )  # fmt: skip
    if rank == 0:
        _summarise(report, out, processes)


def _summarise(report: "ExtractionReport", out: Path, processes: int) -> None:
    if report.added:
        click.echo(f"{out}: added {report.added}, now {report.images} images")
    else:
        click.echo(f"{out}: nothing to add, it has all {report.images} images")
    if report.computed:
        seconds = max(report.seconds, 1e-9)
        decoding = report.waiting > 0.1 * seconds
        click.echo(
            f"this process: {report.computed} images in {report.seconds:.1f} s, "
            f"{report.computed / seconds:.1f} a second; {100 * report.waiting / seconds:.0f} % of "
            "it waiting for decoded images, so the limit was "
            f"{'decoding (more --workers)' if decoding else 'the encoder'}"
            f"{f' (one of {processes} processes)' if processes > 1 else ''}"
        )
    if report.damaged:
        click.echo(f"left out {len(report.damaged)} damaged images:")
        for key, reason in report.damaged.items():
            click.echo(f"    {key}: {reason}")


@domains.command()
@_images_options
@click.pass_context
def check(ctx, images, out, splits, root) -> None:
    """Say which images a store lacks; the exit code is 1 if it lacks any."""
    import_host()
    from ..apps.config_images import images_by_key
    from ..domain import EmbeddingStore

    with plain_errors():
        out = _store_of(images, out, _declared(images))
        files = images_by_key(images, splits, root)
        store = EmbeddingStore.open(out)
    have = set(store.keys)
    missing = [key for key in files if key not in have]
    if not missing:
        click.echo(f"{out} has all {len(files)} images")
        return
    click.echo(
        f"{out} lacks {len(missing)} of {len(files)} images: {', '.join(missing[:5])}"
        f"{', ...' if len(missing) > 5 else ''}\nAdd them with\n    {store.command_to_add(images)}"
    )
    ctx.exit(1)


@domains.command()
@click.argument("store", type=Path)
@click.option(
    "--data-root", "data_roots", type=Path, multiple=True,
    help="For pictures: what the store's keys start at. Repeatable, for a store of several.",
)  # fmt: skip
@click.option("--out", type=Path, help="Folder.  [default: STORE without suffix + _analysis]")
@click.option("--condition", multiple=True, metavar="FOLDER=CONDITION", help="Repeatable.")
@click.option("--temperature", type=float, help="Of the scores.  [default: the encoder's]")
@click.option("--map", "kind", type=click.Choice(["auto", "umap", "pca"]), default="auto")
def analyse(store, data_roots, out, condition, temperature, kind) -> None:
    """Show how well a STORE's prompt bank and encoder tell its images apart.

    Writes figures (PNG), the numbers (analysis.json) and one page, index.html, that needs no
    network. The true condition of an image is read from its path: a folder named like a domain, or
    one that --condition names, such as --condition leftImg8bit=clear_day.
    """
    wrong = [text for text in condition if text.count("=") != 1]
    if wrong:
        raise click.BadParameter(f"--condition takes FOLDER=CONDITION, got {wrong[0]!r}")
    import_host()
    from ..apps.analysis import analyse_store, project
    from ..apps.analysis_figures import Thumbnails
    from ..apps.analysis_page import write_analysis
    from ..domain import EmbeddingStore

    with plain_errors():
        opened = EmbeddingStore.open(store)
        named = dict(text.split("=") for text in condition)
        analysis = analyse_store(opened, named, temperature)
        positions, method = project(opened.images(), kind)
        thumbnails = Thumbnails(data_roots)
        out = out or store.with_name(f"{store.stem}_analysis")
        title = f"Domains of {store.name}"
        page = write_analysis(
            analysis, positions, method, thumbnails, out, title, opened.provenance
        )
    _print_analysis(analysis)
    if thumbnails.unread:
        first = next(iter(thumbnails.unread))
        roots = ", ".join(map(str, data_roots))
        click.echo(
            f"{len(thumbnails.unread)} pictures could not be read below {roots}, such as {first}",
            err=True,
        )
    click.echo(f"written: {page}, and its figures beside it")


def _print_analysis(analysis: "DomainAnalysis") -> None:
    if not analysis.known:
        click.echo("no true condition is known (see --condition); likeliest domains:")
        for name, count in analysis.summary()["predicted"].items():
            click.echo(f"    {name}: {count}")
        return
    from ..page import Table

    accuracy = analysis.accuracy()
    rows = [
        [condition, *counts, accuracy.get(condition)]
        for condition, counts in zip(analysis.known, analysis.confusion().tolist(), strict=True)
    ]
    columns = ["true, likeliest:", *analysis.domains, "right, %"]
    click.echo(Table(columns, rows, digits=1).text().rstrip())
    if accuracy:
        click.echo(
            f"{accuracy['all']:.1f} % of images right, mean of conditions {accuracy['mean']:.1f} %"
        )
