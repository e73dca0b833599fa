"""What all commands share: how arguments are written and how errors are shown."""

import argparse
import gc
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mmengine.config import Config


class Several(click.Option):
    """An option that takes all values up to the next option, as MMSegmentation's tools do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, multiple=True, **kwargs)


@contextmanager
def plain_errors(exit_code: int = 1) -> Iterator[None]:
    """Within the block, an error that a user can mend is one message instead of a traceback.

    ``DOMINO_TRACEBACK=1`` in the environment shows the traceback.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if os.environ.get("DOMINO_TRACEBACK"):
            raise
        message = click.ClickException(str(error))
        message.exit_code = exit_code
        raise message from error


class Command(click.Command):
    """A command with :class:`Several` options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._repeat(args))

    def _repeat(self, args: Sequence[str]) -> list[str]:
        """``--seeds 0 1`` as ``--seeds 0 --seeds 1``, which is how click reads several values."""
        names = {n for p in self.params if isinstance(p, Several) for n in p.opts}
        repeated: list[str] = []
        current, values = None, 0
        for position, argument in enumerate(args):
            if argument == "--":
                return [*repeated, *args[position:]]
            if argument.startswith("-"):
                name, equals, _ = argument.partition("=")
                current, values = (name if name in names else None), int(bool(equals))
                repeated.append(argument)
                continue
            if current is not None:
                if values:
                    repeated.append(current)
                values += 1
            repeated.append(argument)
        return repeated


class Group(click.Group):
    """Commands in the order in which they were added."""

    command_class = Command
    group_class = type

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def config_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The file of ``mmseg_domino::settings/NAME.py`` as installed; any other value as it is."""
    if value is None or "::" not in value:
        return value
    from mmengine.config import Config

    with plain_errors():
        return Config._get_cfg_path(value, "")[0]


def _overrides(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict:
    if not values:
        return {}
    wrong = [value for value in values if "=" not in value]
    if wrong:
        raise click.BadParameter(f"expected KEY=VALUE, got {wrong[0]!r}")
    from mmengine.config import DictAction

    parsed = argparse.Namespace()
    # Values mean what they mean to MMSegmentation's tools.
    DictAction(["--cfg-options"], "options")(argparse.ArgumentParser(), parsed, list(values))
    return parsed.options


cfg_options = click.option(
    "--cfg-options",
    cls=Several,
    metavar="KEY=VALUE ...",
    callback=_overrides,
    help="Override settings of the config; lists as key=[a,b] or key=a,b.",
)
data_roots = click.option(
    "--data-root", multiple=True, metavar="[OLD=]NEW",
    help="Where the data are; OLD=NEW, repeatable, if the data sets have several roots.",
)  # fmt: skip
workers = click.option(
    "--workers", type=int, default=os.cpu_count() or 1, show_default="processors", help="Processes."
)


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block nothing is printed, logged or warned of."""
    from mmengine.logging import MMLogger

    # MMEngine's loggers keep what was enabled, whatever logging.disable says later.
    host, before = MMLogger.get_current_instance(), logging.root.manager.disable
    level = host.level
    host.setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        host.setLevel(level)


def import_host() -> None:
    """Import MMSegmentation without what it says about packages that nobody asked for."""
    first = "mmseg.models" not in sys.modules
    with quiet():
        import mmseg.datasets
        import mmseg.models  # noqa: F401
    if first:
        # MMEngine collects garbage for each data set: 0.4 s where it looks at all imports.
        gc.freeze()


def read_config(file: str, overrides: Mapping) -> "Config":
    """A config with settings changed."""
    from mmengine.config import Config

    cfg = Config.fromfile(file)
    cfg.merge_from_dict(overrides)
    return cfg


def best_device() -> str:
    """This process's GPU, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def safetensors_file(ctx: click.Context, param: click.Parameter, path: Path) -> Path:
    """Refuse a file to be written that is no .safetensors."""
    if path.suffix != ".safetensors":
        raise click.BadParameter(f"the output must end in .safetensors, got {path}")
    return path


def write_converted(out: Path, state: Mapping, report: Mapping) -> None:
    """Write weights, and beside them what is said of them, under their name with .json."""
    from safetensors.torch import save_file

    from ..utils import atomic_write, write_text

    with atomic_write(out) as temporary:
        save_file(state, temporary)
    write_text(out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")


def show_keys(keys: Sequence[str], what: str) -> None:
    """Print names of tensors, their number first."""
    click.echo("\n    ".join([f"{len(keys)} keys {what}{':' if keys else ''}", *keys]))


@contextmanager
def join_processes(hours: float) -> Iterator[tuple[int, int]]:
    """This process's rank and their number, under torchrun or alone."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes == 1:
        yield 0, 1
        return
    from datetime import timedelta

    from torch import distributed

    distributed.init_process_group("gloo", timeout=timedelta(hours=hours))
    try:
        yield int(os.environ["RANK"]), processes
    finally:
        distributed.destroy_process_group()
