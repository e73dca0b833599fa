"""What a run shows on the screen: one paragraph, then progress. The log file has all of it."""

import logging
import re
import textwrap
from collections.abc import Mapping

from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch import nn

from ..datasets import leaf_datasets
from ..models.layers import ClassContext, DomainNorms
from ..utils.configs import type_name

#: Notices of libraries to those who call them.
_NOT_FOR_USERS = re.compile(r"deprecated|alias of")
_WIDTH = 100


class Console(logging.Filter):
    """Passes warnings and what has ``extra={'console': True}``; once ``open``, everything."""

    open = False

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return not _NOT_FOR_USERS.search(record.getMessage())
        return self.open or getattr(record, "console", False)


def describe_training(runner: Runner) -> str:
    """Data, model, what the domain adapts, where it is from, start and log of a training."""
    sentences = [
        _data(runner),
        _model(runner.model),
        _domain(runner.model, runner.cfg.get("domino") or {}),
        _start(runner),
        f"Log: {runner.logger.log_file}.",
    ]
    return textwrap.fill(
        " ".join(filter(None, sentences)), _WIDTH, break_long_words=False, break_on_hyphens=False
    )


def describe_recipe(runner: Runner) -> str:
    """How a training goes, as a table for the log: what its result depends on beside the model.

    The optimiser's constructor logs the groups of parameters, with their rates and decays.
    """
    cfg, wrapper = runner.cfg, runner.optim_wrapper
    clip = getattr(wrapper, "clip_grad_kwargs", None) or {}
    batch = (runner.train_dataloader.batch_size or 1) * get_world_size()
    steps = getattr(wrapper, "_accumulative_counts", 1)
    schedulers = cfg.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    averages = [h for h in cfg.get("custom_hooks") or [] if "EMA" in type_name(h)]
    pipeline = cfg.get("train_pipeline") or []
    sizes = [t for t in pipeline if type_name(t).endswith(("Resize", "Crop"))]
    rows = [
        ("optimiser", type(getattr(wrapper, "optimizer", wrapper)).__name__),
        ("batch", f"{batch * steps} images a step, {steps} x {batch}"),
        ("precision", type(wrapper).__name__.removesuffix("OptimWrapper") or "float32"),
        ("clipped gradients", ", ".join(f"{k} {v}" for k, v in clip.items()) or "no"),
        *(("schedule", _written(one)) for one in schedulers),
        *(("averaged weights", _written(one)) for one in averages or [{"type": "no"}]),
        *(("augmentation", _written(one)) for one in sizes),
    ]
    return "recipe:\n" + "\n".join(f"{name:<20}{value}" for name, value in rows)


def _written(options: Mapping) -> str:
    rest = ", ".join(f"{k}={v}" for k, v in options.items() if k not in ("type", "_scope_"))
    return f"{type_name(options)}({rest})" if rest else type_name(options)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count:,}"


def _data(runner: Runner) -> str:
    leaves = leaf_datasets(runner.cfg.train_dataloader)
    places = dict.fromkeys(f"{type_name(leaf)} in {leaf.get('data_root')}" for leaf in leaves)
    loader, processes = runner.train_dataloader, get_world_size()
    said = [f"Training on {len(loader.dataset):,} images ({', '.join(places)})"]
    if loader.batch_size is not None:
        said.append(f"{loader.batch_size} at a time")
    if processes > 1:
        said.append(f"in {processes} processes")
    said.append(f"{runner.train_loop.max_iters:,} iterations")
    return f"{', '.join(said)}, on {get_device()}."


def _model(model: nn.Module) -> str:
    model = getattr(model, "module", model)
    parts = [getattr(model, name, None) for name in ("backbone", "neck", "decode_head")]
    names = ", ".join(type(part).__name__ for part in parts if part is not None)
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f"Model: {type(model).__name__} ({names}), {_millions(total)} parameters, "
        f"{_millions(trained)} trained."
    )


def _domain(model: nn.Module, options: Mapping) -> str:
    modules = list(model.modules())
    norms = [m for m in modules if isinstance(m, DomainNorms)]
    contexts = [m for m in modules if isinstance(m, ClassContext) and m.injection != "none"]
    if not norms and not contexts:
        return "The domain adapts no layer." if options else ""
    adapted = [f"{sum(len(m.names) for m in norms)} norm layers"] if norms else []
    adapted += [f"cross-attention ({context.injection})" for context in contexts]
    added = sum(p.numel() for module in norms for p in module.parameters())
    text = f"The domain adapts {' and '.join(adapted)}, {_millions(added)} parameters added"
    if options.get("source") or options.get("store") or options.get("encoder"):
        text += f"; its embedding is '{options.get('source', 'soft')}' {_origin(options)}"
    return text + "."


def _origin(options: Mapping) -> str:
    encoder = options.get("encoder") or {}
    if options.get("store") and options.get("encode") in (None, "store"):
        return f"from {options['store']}"
    return f"by CLIP {encoder.get('model', '')} as images are loaded".replace("  ", " ")


def _start(runner: Runner) -> str:
    report = getattr(runner, "load_report", None)
    if report is not None and runner.iter:
        return f"Resumed at iteration {runner.iter:,}: {report}."
    if report is not None:
        return f"Starts from a checkpoint: {report}."
    weights = runner.cfg.model.backbone.get("weights")
    if isinstance(weights, Mapping):
        weights = weights.get("name")
    return f"The backbone starts from {weights}." if weights else "No checkpoint is loaded."
