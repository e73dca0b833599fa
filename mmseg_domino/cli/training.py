"""``domino train`` and ``domino test``, with the arguments of MMSegmentation's tools."""

import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import Command, cfg_options, config_file, data_roots, import_host, plain_errors

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


def _launch_options(command: Callable) -> Callable:
    def set_local_rank(ctx: click.Context, param: click.Parameter, value: int) -> None:
        os.environ.setdefault("LOCAL_RANK", str(value))

    for option in (
        # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
        click.option(
            "--local_rank", "--local-rank", type=int, default=0, hidden=True,
            callback=set_local_rank, expose_value=False,
        ),
        click.option("--condition", metavar="NAME", help="Of CONFIG, which is then a set."),
        data_roots,
        click.option(
            "--launcher", type=click.Choice(["none", "pytorch", "slurm", "mpi"]), default="none",
            help="Job launcher of a distributed run.",
        ),
        cfg_options,
        click.option(
            "--work-dir",
            help="Folder for logs, checkpoints and results.  "
            "[default: work_dirs/CONFIG, work_dirs/CONFIG/CONDITION]",
        ),
        click.argument("config", callback=config_file),
    ):  # fmt: skip
        command = option(command)
    return command


#: Beginnings of warnings about what configs of MMSegmentation do on purpose.
_NOT_FOR_USERS = ("Default ``avg_non_ignore``", "The draw is False")


def _quieten() -> None:
    """Keep from the screen what its reader cannot act on; ``python -W`` has the last word."""
    import_host()
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not sys.warnoptions:
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        for beginning in _NOT_FOR_USERS:
            warnings.filterwarnings("ignore", re.escape(beginning))


def _load(config, work_dir, cfg_options, launcher, condition, data_root) -> "Config":
    from ..engine import load_config

    if condition is not None:
        from ..experiments import load_set

        work_dir = work_dir or str(Path("work_dirs", Path(config).stem, condition))
        config = load_set(config).resolve(condition)
    return load_config(config, work_dir, cfg_options, launcher, data_root or None)


def _run(runner: "Runner", work: Callable) -> Any:
    """Train or test; an error before the first iteration is a message, a later one a traceback."""
    try:
        return work()
    except Exception:
        console = getattr(runner, "console", None)
        if console is None or console.open:
            raise
        with plain_errors():
            raise


@click.command(cls=Command)
@_launch_options
@click.option("--resume", is_flag=True, help="Go on from the latest checkpoint of the work folder.")
@click.option("--amp", is_flag=True, help="Train in automatic mixed precision.")
def train(resume, amp, **arguments) -> None:
    """Train the segmentor or detector of CONFIG."""
    _quieten()
    from .. import engine

    with plain_errors():
        cfg = _load(**arguments)
        if amp:
            engine.enable_amp(cfg)
        cfg = engine.for_this_run(engine.apply_domino(cfg))
        cfg.resume = resume or cfg.get("resume", False)
        runner = engine.build_runner(cfg)
    _run(runner, runner.train)


@click.command(cls=Command)
@_launch_options
@click.argument("checkpoint")
@click.option("--out", metavar="DIR", help="Write predictions as PNG files into this folder.")
@click.option(
    "--format-only", is_flag=True,
    help="Only write predictions (needs --out); the images need no labels.",
)  # fmt: skip
@click.option("--show", is_flag=True, help="Show predictions on the screen.")
@click.option("--show-dir", metavar="DIR", help="Draw predictions into this folder.")
@click.option("--wait-time", type=float, default=2, help="Seconds a shown image stays.")
@click.option("--tta", is_flag=True, help="Test-time augmentation.")
@click.option("--report", metavar="DIR", help="Write the HTML report into this folder.")
@click.option(
    "--resume", is_flag=True,
    help="Go on with the interrupted test of this checkpoint in the work folder.",
)  # fmt: skip
def test(
    checkpoint, out, format_only, show, show_dir, wait_time, tta, report, resume, **arguments
) -> None:  # fmt: skip
    """Test CHECKPOINT with CONFIG and write its table.

    Into the work folder go results.json, per_image.safetensors, results.md and results.csv.
    """
    if format_only and out is None:
        raise click.UsageError("--format-only writes predictions and needs --out DIR")
    _quieten()
    from mmengine.dist import is_main_process

    from .. import engine

    with plain_errors():
        cfg = _load(**arguments)
        cfg = engine.for_this_run(engine.apply_domino(cfg))
        cfg.load_from = checkpoint
        if show or show_dir:
            engine.show_predictions(cfg, show, show_dir, wait_time)
        if tta:
            engine.use_test_time_augmentation(cfg)
        if out:
            engine.save_predictions(cfg, out, only=format_only)
        engine.record_results(cfg, checkpoint, resume=resume)
        if report:
            hook = dict(type=engine.report_hook(cfg), out_dir=report)
            cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
        runner = engine.build_runner(cfg)
    metrics = _run(runner, runner.test)
    if is_main_process() and metrics and not format_only:
        results, table = engine.write_tables(cfg.work_dir)
        click.echo(f"\n{table.text()}\n\ntested: {results.run.get('protocol')}")
        click.echo(f"written to {cfg.work_dir}/results.{{json,md,csv}}")
