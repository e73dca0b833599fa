"""Optimiser groups that say what they are.

MMEngine's ``paramwise_cfg.custom_keys`` match any part of a parameter's name, the longest first and
then alphabetically: a key ``norm`` takes the norms of a UNet out of a group ``unet`` and trains
them at the full rate, and names such as ``norm1`` match in diffusers where the original names did
not. Here groups are prefixes of names, decay is decided by the module's type, and the result is
logged.
"""

import logging
import re
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from ..utils.options import complete_options

#: What ``paramwise_cfg`` may hold, with its defaults; see :func:`parameter_groups`.
PARAMWISE_OPTIONS = {"lr_mult": None, "norm_decay_mult": 0.0, "decay_mult": None, "new": None}
#: Name of the group of parameters that ``new`` finds.
_NEW = "new"


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _multiplier(name: str, factors: Mapping[str, float]) -> tuple[str, float]:
    """The longest prefix of whole name parts that holds a parameter, and its factor."""
    fitting = [p for p in factors if name == p or name.startswith(p + ".")]
    prefix = max(fitting, key=len, default="")
    return prefix, float(factors[prefix]) if prefix else 1.0


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    lr_mult: Mapping[str, float] | None = None,
    norm_decay_mult: float = 0.0,
    decay_mult: Mapping[str, float] | None = None,
    new: str | None = None,
) -> list[dict]:
    """Split a model's trained parameters into groups of one rate and decay each.

    Args:
        model: The model.
        lr: Base learning rate.
        weight_decay: Base weight decay.
        lr_mult: Factor of the rate by prefix of the parameter's name, in whole parts
            (``"backbone.unet"``); the longest fitting prefix counts. 0 leaves the parameters out.
        norm_decay_mult: Factor of the decay for parameters of normalisation layers.
        decay_mult: Factor of the decay by prefix, as ``lr_mult``.
        new: A regular expression, searched for in names: parameters that start untrained inside a
            pretrained part, such as adapters. They take the base rate, whatever ``lr_mult`` says.

    Returns:
        Groups for a torch optimiser, each with ``params``, ``lr``, ``weight_decay`` and a
        ``name``. Frozen parameters and those of factor 0 are in none.

    Raises:
        ValueError: If a prefix fits no parameter, so that a typo is not taken for a choice.
    """
    lr_mult, decay_mult = dict(lr_mult or {}), dict(decay_mult or {})
    groups: dict[tuple[str, bool, float], dict] = {}
    seen, used = set(), set()
    # The names that checkpoints have: without the levels that adapters and wrappers put between.
    public = {id(v): k for k, v in model.state_dict(keep_vars=True).items()}
    for module_name, module in model.named_modules():
        for own_name, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{own_name}" if module_name else own_name
            name = public.get(id(parameter), name)
            prefix, factor = _multiplier(name, lr_mult)
            decayed, decay_factor = _multiplier(name, decay_mult)
            used |= {prefix, decayed}
            if new is not None and re.search(new, name):
                prefix, factor = _NEW, 1.0
            if not parameter.requires_grad or factor == 0 or parameter in seen:
                continue
            seen.add(parameter)
            norm = _is_norm(module)
            decay_factor *= norm_decay_mult if norm else 1.0
            kind = " (norms)" if norm else f" (decay x{decay_factor:g})" if decayed else ""
            group = groups.setdefault(
                (prefix, norm, decay_factor),
                dict(
                    name=f"{prefix or 'rest'}{kind}",
                    lr=lr * factor,
                    weight_decay=weight_decay * decay_factor,
                    params=[],
                ),
            )
            group["params"].append(parameter)
    unused = sorted({*lr_mult, *decay_mult} - used)
    if unused:
        raise ValueError(
            f"{'lr_mult' if set(unused) & set(lr_mult) else 'decay_mult'} names {unused}, which "
            "begin no parameter's name; the model's parts are "
            f"{sorted({n.rsplit('.', 1)[0].split('.', 2)[0] for n, _ in model.named_parameters()})}"
        )
    return [groups[key] for key in sorted(groups)]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DominoOptimWrapperConstructor:
    """Builds the optimiser from :func:`parameter_groups` and logs the groups as a table.

    Use it with ``optim_wrapper = dict(constructor='DominoOptimWrapperConstructor', ...)``.

    Args:
        optim_wrapper_cfg: MMEngine's, with ``optimizer`` (``lr`` at least).
        paramwise_cfg: :data:`PARAMWISE_OPTIONS`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.paramwise_cfg = complete_options(paramwise_cfg, PARAMWISE_OPTIONS, "paramwise_cfg")

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = getattr(model, "module", model)
        optimizer_cfg = dict(self.optim_wrapper_cfg.pop("optimizer"))
        groups = parameter_groups(
            model, optimizer_cfg["lr"], optimizer_cfg.get("weight_decay", 0.0), **self.paramwise_cfg
        )
        frozen = [p for p in model.parameters() if not p.requires_grad]
        print_log(describe_groups(groups, frozen), logger="current", level=logging.INFO)
        optimizer = OPTIMIZERS.build(dict(**optimizer_cfg, params=groups))
        wrapper_cfg = {"type": "OptimWrapper", **self.optim_wrapper_cfg}
        return OPTIM_WRAPPERS.build(wrapper_cfg, default_args=dict(optimizer=optimizer))


def describe_groups(groups: list[dict], frozen: Sequence[nn.Parameter] = ()) -> str:
    """The groups, and what is in none, as a table for the log."""
    lines = [f"{'group':<36}{'tensors':>9}{'parameters':>14}{'lr':>12}{'decay':>10}"]
    for g in groups:
        count = sum(p.numel() for p in g["params"])
        lines.append(
            f"{g['name']:<36}{len(g['params']):>9}{count:>14,}{g['lr']:>12.3g}"
            f"{g['weight_decay']:>10.3g}"
        )
    if frozen:
        count = sum(p.numel() for p in frozen)
        lines.append(f"{'frozen':<36}{len(frozen):>9}{count:>14,}{'-':>12}{'-':>10}")
    return "parameter groups of the optimiser:\n" + "\n".join(lines)
